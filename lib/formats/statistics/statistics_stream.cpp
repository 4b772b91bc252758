#include "lib/formats/statistics/statistics_stream.h"

#include <charconv>
#include <climits>
#include <map>
#include <stdexcept>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"
#include "lib/formats/statistics/statistics_source.h"
#include "lib/formats/statistics/stream_line.h"

namespace eplb {
namespace {

constexpr const char* kFormat = "eplb-statistics";
constexpr std::int64_t kStreamVersion = 1;

// Takes the spelling that StatisticsStreamWriter writes, twice as quickly as StreamLine. A
// line that is spelled in another way, or is wrong, is left to the parser.
class QuickScanner {
  public:
    explicit QuickScanner(std::string_view text) : next_(text.data()), end_(next_ + text.size()) {}

    bool skip(std::string_view expected) {
        if (static_cast<std::size_t>(end_ - next_) < expected.size() ||
            std::string_view(next_, expected.size()) != expected)
            return false;
        next_ += expected.size();
        return true;
    }

    template <typename Integer>
    bool integer(Integer& number) {
        if (next_ == end_ || *next_ == '-')
            return false;
        const bool starts_with_zero = *next_ == '0';
        const auto [after, error] = std::from_chars(next_, end_, number);
        if (error != std::errc() || (starts_with_zero && after != next_ + 1))
            return false;
        next_ = after;
        return true;
    }

    // [num_rows][num_columns], all within [0, kMaxCount]
    bool table(int num_rows, int num_columns, std::vector<std::int64_t>& numbers) {
        numbers.clear();
        for (int row = 0; row < num_rows; ++row)
            for (int column = 0; column < num_columns; ++column) {
                const char* const before = column > 0 ? "," : row > 0 ? "],[" : "[[";
                std::int64_t number = 0;
                if (!skip(before) || !integer(number) || number > kMaxCount)
                    return false;
                numbers.push_back(number);
            }
        return skip("]]");
    }

    bool is_at_end() const { return next_ == end_; }

  private:
    const char* next_;
    const char* end_;
};

class StreamReader {
  public:
    StreamReader(const std::string& path, const StatisticsSelection& selection, RowSink* rows)
        : reader_(path), selection_(selection), rows_(rows) {}

    ExpertStatistics read() {
        read_first_line();
        if (rows_ != nullptr)
            rows_->begin(shape_);
        while (num_iterations_ < 0) {
            const std::optional<std::string_view> text = reader_.next();
            if (!text)
                fail_cut_off();
            read_line(*text);
        }
        if (reader_.next())
            fail_here("text after the end line; one stream holds one recording");
        return take_statistics();
    }

  private:
    // What its lines bring, [num_sources][num_experts] for each layer (a position), and no more: a
    // short stream must not take the memory of a long one. Empty where the iteration is not
    // selected.
    using Iteration = std::map<int, std::vector<std::int64_t>>;

    std::string where() const {
        return reader_.name() + ": line " + std::to_string(reader_.line_number()) + ": ";
    }
    [[noreturn]] void fail_here(const std::string& what) const { throw Error(where() + what); }
    [[noreturn]] void fail_cut_off() const {
        throw Error(reader_.name() + ": line " + std::to_string(reader_.line_number() + 1) +
                    ": the stream ends without its end line: it was cut off, or its writer failed");
    }

    StreamLine parse(std::string_view text) const {
        StreamLine line(where());
        if (text.find_first_not_of(" \t\r") == std::string_view::npos)
            line.fail("is blank");
        try {
            line.parse(text);
        } catch (const Error&) {
            // only the last line can lack its newline
            if (reader_.ended_in_newline())
                throw;
            throw Error(where() +
                        "ends in the middle: the stream was cut off, or its writer failed");
        }
        return line;
    }

    void read_first_line() {
        const std::optional<std::string_view> text = reader_.next();
        if (!text)
            throw Error(
                reader_.name() +
                ": line 1: the input is empty: the program that writes it produced nothing");
        for (const char* const key :
             {"initial_global_assignments:", "layer_updates_per_iter:", "num_slots:"})
            if (text->starts_with(key))
                throw RecordingMismatch(RecordingMismatch::Cause::is_config,
                                        reader_.name() + ": is a config, not statistics");
        try {
            read_header(*text);
        } catch (const Error& error) {
            throw NoStreamError(error.what());
        }
    }

    void read_header(std::string_view text) {
        const StreamLine line = parse(text);
        const char* const remedy = ": this is no statistics stream";
        if (!line.has("format"))
            line.fail("\"format\" is missing" + std::string(remedy));
        const std::string& format = line.get("format", StreamValue::Kind::text, "a string").text;
        if (format != kFormat)
            line.fail("\"format\" is " + quoted_name(format) + remedy);
        const std::int64_t version = line.integer("version", 1, INT64_MAX);
        if (version > kStreamVersion)
            line.fail("version " + std::to_string(version) + " is newer than version " +
                      std::to_string(kStreamVersion) + ", which this program reads; update it");
        line.allow_only({"format", "version", "num_experts", "top_k", "ep_size", "layers",
                         "iter_start", "ids", "layer_updates_per_iter"});
        read_shape(line);
    }

    void read_shape(const StreamLine& line) {
        shape_.num_experts = line.small_integer("num_experts", 1);
        shape_.top_k = line.small_integer("top_k", 1);
        shape_.ep_size = line.small_integer("ep_size", 1);
        shape_.num_sources = selection_.sum_sources ? 1 : shape_.ep_size;
        shape_.iter_start = line.integer("iter_start", 0, INT64_MAX - INT_MAX);
        if (shape_.top_k > shape_.num_experts)
            line.fail("\"top_k\" must not exceed \"num_experts\"");
        for (const std::int64_t layer :
             line.get("layers", StreamValue::Kind::list, "a list of integers").numbers) {
            if (layer < 0 || layer > INT_MAX ||
                (!shape_.layers.empty() && layer <= shape_.layers.back()))
                line.fail("\"layers\" must be ascending layer ids");
            shape_.layers.push_back(static_cast<int>(layer));
        }
        if (shape_.layers.empty())
            line.fail("\"layers\" must not be empty");
        if (line.has("ids")) {
            const std::string& ids = line.get("ids", StreamValue::Kind::text, "a string").text;
            if (ids != "slot" && ids != "expert")
                line.fail(R"("ids" must be "expert" or "slot")");
            shape_.ids = ids == "slot" ? IdKind::slot : IdKind::expert;
        }
        if (line.has("layer_updates_per_iter"))
            shape_.layer_updates_per_iter = line.small_integer("layer_updates_per_iter", 0);
    }

    void read_line(std::string_view text) {
        std::int64_t iteration = 0;
        int layer = 0;
        if (scan_counts(text, iteration, layer)) {
            add_counts(iteration, layer);
            return;
        }
        const StreamLine line = parse(text);
        if (line.has("end"))
            read_end(line);
        else
            read_counts(line);
    }

    bool scan_counts(std::string_view text, std::int64_t& iteration, int& layer) {
        QuickScanner scanner(text);
        return scanner.skip("{\"iteration\":") && scanner.integer(iteration) &&
               scanner.skip(",\"layer\":") && scanner.integer(layer) &&
               scanner.skip(",\"counts\":") &&
               scanner.table(shape_.ep_size, shape_.num_experts, counts_) && scanner.skip("}") &&
               scanner.is_at_end();
    }

    void read_counts(const StreamLine& line) {
        line.allow_only({"iteration", "layer", "counts"});
        const std::int64_t iteration = line.integer("iteration", 0, INT64_MAX);
        const int layer = line.small_integer("layer", 0);
        const StreamValue& counts =
            line.get("counts", StreamValue::Kind::table, "a list of lists of integers");
        if (counts.row_ends.size() != static_cast<std::size_t>(shape_.ep_size))
            line.fail("\"counts\" has " + std::to_string(counts.row_ends.size()) +
                      " ranks where ep_size is " + std::to_string(shape_.ep_size));
        std::size_t begin = 0;
        for (const std::size_t end : counts.row_ends) {
            if (end - begin != static_cast<std::size_t>(shape_.num_experts))
                line.fail("\"counts\" has " + std::to_string(end - begin) +
                          " entries for a rank where num_experts is " +
                          std::to_string(shape_.num_experts));
            begin = end;
        }
        for (const std::int64_t count : counts.numbers)
            if (count < 0 || count > kMaxCount)
                line.fail("count " + std::to_string(count) + " is " +
                          (count < 0 ? "negative" : "absurd"));
        counts_ = counts.numbers;
        add_counts(iteration, layer);
    }

    // counts_ to its place
    void add_counts(std::int64_t iteration, int layer) {
        const std::optional<int> position = shape_.find_layer(layer);
        if (!position)
            fail_here("layer " + std::to_string(layer) + " is not among the layers of line 1");
        if (iteration < shape_.iter_start)
            fail_here("iteration " + std::to_string(iteration) + " is before iter_start, " +
                      std::to_string(shape_.iter_start));
        const auto [found, is_new] =
            iterations_[iteration].emplace(*position, std::vector<std::int64_t>());
        if (!is_new)
            fail_here("iteration " + std::to_string(iteration) + ", layer " +
                      std::to_string(layer) + " stands there twice");
        if (!is_selected(iteration))
            return;
        std::vector<std::int64_t>& sums = found->second;
        sums.resize(static_cast<std::size_t>(shape_.num_sources) *
                    static_cast<std::size_t>(shape_.num_experts));
        for (std::size_t i = 0, sum = 0; i < counts_.size(); ++i) {
            sums[sum] += counts_[i];
            if (++sum == sums.size())
                sum = 0;
        }
        if (rows_ != nullptr)
            show_rows(iteration, *position);
    }

    // counts_, a row per source rank
    void show_rows(std::int64_t iteration, int layer) const {
        const auto size = static_cast<std::size_t>(shape_.num_experts);
        for (int source = 0; source < shape_.ep_size; ++source)
            rows_->add(iteration, layer, source,
                       std::span(counts_).subspan(static_cast<std::size_t>(source) * size, size));
    }

    bool is_selected(std::int64_t iteration) const {
        return iteration >= selection_.iter_start.value_or(iteration) &&
               (!selection_.iter_stop || iteration < *selection_.iter_stop);
    }

    void read_end(const StreamLine& line) {
        line.allow_only({"end", "num_iterations"});
        if (!line.get("end", StreamValue::Kind::boolean, "true").boolean)
            line.fail("\"end\" must be true");
        num_iterations_ = line.small_integer("num_iterations", 0);
        if (num_iterations_ == 0)
            line.fail("the stream holds no iteration: nothing was recorded");
        std::int64_t expected = shape_.iter_start;
        for (const auto& [iteration, found] : iterations_) {
            if (iteration != expected)
                break;
            check_layers(line, iteration, found);
            ++expected;
        }
        const std::int64_t stop = shape_.iter_start + num_iterations_;
        if (expected < stop)
            line.fail("iteration " + std::to_string(expected) + " is missing");
        if (iterations_.rbegin()->first >= stop)
            line.fail("num_iterations is " + std::to_string(num_iterations_) + ", but iteration " +
                      std::to_string(iterations_.rbegin()->first) + " is there");
    }

    void check_layers(const StreamLine& line,
                      std::int64_t iteration,
                      const Iteration& found) const {
        int expected = 0;
        for (const auto& [layer, counts] : found)
            expected += layer == expected ? 1 : 0;
        if (expected < shape_.num_layers())
            line.fail("iteration " + std::to_string(iteration) + ", layer " +
                      std::to_string(shape_.layers[expected]) + " is missing");
    }

    ExpertStatistics take_statistics() {
        const IterationRange range = select_iterations(
            selection_, {shape_.iter_start, shape_.iter_start + num_iterations_}, reader_.name());
        shape_.iter_start = range.start;
        shape_.num_iterations = static_cast<int>(range.stop - range.start);
        const auto first = iterations_.find(range.start);
        shape_.counts.reserve(first->second.size() * first->second.begin()->second.size() *
                              static_cast<std::size_t>(shape_.num_iterations));
        for (auto next = first; next != iterations_.end() && next->first < range.stop;) {
            for (const auto& [layer, counts] : next->second)
                shape_.counts.insert(shape_.counts.end(), counts.begin(), counts.end());
            next = iterations_.erase(next);  // at once: the counts are not in memory twice
        }
        return std::move(shape_);
    }

    LineReader reader_;
    StatisticsSelection selection_;
    RowSink* rows_;  // may be null
    ExpertStatistics shape_;
    std::map<std::int64_t, Iteration> iterations_;
    std::vector<std::int64_t> counts_;  // [ep_size][num_experts] of the line in work
    int num_iterations_ = -1;           // known from the end line on
};

void append_integer(std::string& text, std::int64_t number) {
    char digits[24];
    const auto [end, error] = std::to_chars(std::begin(digits), std::end(digits), number);
    text.append(digits, end);
}

template <typename Range>
void append_list(std::string& text, const Range& numbers) {
    char separator = '[';
    for (const auto number : numbers) {
        text += separator;
        append_integer(text, number);
        separator = ',';
    }
    text += ']';
}

}  // namespace

StatisticsStreamWriter::StatisticsStreamWriter(const ExpertStatistics& shape, OutputFile& output)
    : output_(output) {
    if (shape.num_sources != shape.ep_size)
        throw std::logic_error("a statistics stream holds the counts of each source rank");
    line_ = "{\"format\":\"" + std::string(kFormat) +
            "\",\"version\":" + std::to_string(kStreamVersion) +
            ",\"num_experts\":" + std::to_string(shape.num_experts) +
            ",\"top_k\":" + std::to_string(shape.top_k) +
            ",\"ep_size\":" + std::to_string(shape.ep_size) + ",\"layers\":";
    append_list(line_, shape.layers);
    line_ += ",\"iter_start\":" + std::to_string(shape.iter_start);
    if (shape.ids == IdKind::expert)
        line_ += R"(,"ids":"expert")";
    if (shape.ids == IdKind::slot)
        line_ += ",\"ids\":\"slot\",\"layer_updates_per_iter\":" +
                 std::to_string(shape.layer_updates_per_iter);
    line_ += "}\n";
    output_.write(line_);
}

void StatisticsStreamWriter::write_iteration(const ExpertStatistics& statistics, int iteration) {
    for (int layer = 0; layer < statistics.num_layers(); ++layer) {
        line_ = "{\"iteration\":";
        append_integer(line_, statistics.iter_start + iteration);
        line_ += ",\"layer\":";
        append_integer(line_, statistics.layers[layer]);
        line_ += ",\"counts\":";
        for (int source = 0; source < statistics.num_sources; ++source) {
            line_ += source == 0 ? '[' : ',';
            append_list(line_, statistics.row(iteration, layer, source));
        }
        line_ += "]}\n";
        output_.write(line_);
    }
}

void StatisticsStreamWriter::write_end(int num_iterations) {
    output_.write("{\"end\":true,\"num_iterations\":" + std::to_string(num_iterations) + "}\n");
}

ExpertStatistics read_statistics_stream(const std::string& path,
                                        const StatisticsSelection& selection,
                                        RowSink* rows) {
    return StreamReader(path, selection, rows).read();
}

}  // namespace eplb
