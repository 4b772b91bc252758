#include <algorithm>
#include <climits>
#include <map>
#include <unordered_map>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/quoted_name.h"
#include "lib/formats/statistics/count_readers.h"
#include "lib/formats/statistics/expert_ids.h"
#include "lib/formats/statistics/trace_line.h"

namespace eplb {
namespace {

constexpr std::int64_t kMaxNumLayers = 4096;
constexpr std::int64_t kMaxTopK = 4096;

// Token indices that are complete, as intervals: requests have theirs nearly in order, so that a
// few intervals hold millions.
class TokenSet {
  public:
    bool contains(std::int64_t token) const {
        const auto after = intervals_.upper_bound(token);
        return after != intervals_.begin() && token < std::prev(after)->second;
    }

    void add(std::int64_t token) {
        std::int64_t start = token;
        std::int64_t stop = token + 1;
        auto after = intervals_.upper_bound(token);
        if (after != intervals_.begin() && std::prev(after)->second == token)
            start = std::prev(after)->first;
        if (after != intervals_.end() && after->first == stop) {
            stop = after->second;
            intervals_.erase(after);
        }
        intervals_[start] = stop;
    }

  private:
    std::map<std::int64_t, std::int64_t> intervals_;  // start to stop, exclusive; none touch
};

struct Request {
    std::string id;                                   // as TraceLine has it
    std::map<int, std::vector<std::int64_t>> counts;  // by row; up to the highest id in it
    std::map<std::int64_t, std::vector<bool>> open;   // tokens: which of their rows are there
    TokenSet complete;
};

// The id of a request as messages show it.
std::string shown_id(std::string_view id) {
    return id.starts_with('"') ? quoted_name(id.substr(1, id.size() - 2)) : std::string(id);
}

class TraceReader {
  public:
    TraceReader(std::string name, int num_experts) : name_(std::move(name)), ids_(num_experts) {}

    void add_line(std::string_view text, bool ended_in_newline) {
        ++line_number_;
        if (text.find_first_not_of(" \t\r") == std::string_view::npos)
            fail_here("is blank");
        const TraceLine line = parse(text, ended_in_newline);
        if (!line.type)
            fail_here("\"type\" is missing: this is no routing trace");
        if (line_number_ == 1)
            read_meta(line);
        else
            read_route(line);
    }

    CountTable take() {
        if (line_number_ == 0)
            throw Error(name_ + ": is empty; a routing trace starts with a line of type meta");
        if (requests_.empty())
            throw Error(name_ + ": holds no routes: nothing was recorded; record again");
        check_complete();
        CountTable table;
        table.layer_rows = LayerRows::by_id;
        table.layers = layers_;
        table.num_experts = ids_.num_experts();
        table.top_k = static_cast<int>(top_k_);
        table.num_iterations = static_cast<int>(requests_.size());
        ids_.warn(table.warnings);
        table.allocate(table.num_layers(), name_);
        for (int iteration = 0; iteration < table.num_iterations; ++iteration)
            for (const auto& [row, counts] : requests_[iteration].counts)
                std::copy(counts.begin(), counts.end(), table.row(iteration, row, 0).begin());
        return table;
    }

  private:
    std::string where() const { return name_ + ": line " + std::to_string(line_number_) + ": "; }
    [[noreturn]] void fail_here(const std::string& what) const { throw Error(where() + what); }

    TraceLine parse(std::string_view text, bool ended_in_newline) const {
        try {
            return parse_trace_line(text, where());
        } catch (const Error&) {
            // only the last line can lack its newline
            if (ended_in_newline)
                throw;
            fail_here("ends in the middle: the trace was cut off; copy it again");
        }
    }

    template <typename Value>
    const Value& need(const std::optional<Value>& value, const char* key) const {
        if (!value)
            fail_here('"' + std::string(key) + "\" is missing");
        return *value;
    }

    std::int64_t need_between(const std::optional<std::int64_t>& value,
                              const char* key,
                              std::int64_t minimum,
                              std::int64_t maximum) const {
        const std::int64_t number = need(value, key);
        if (number < minimum || number > maximum)
            fail_here('"' + std::string(key) + "\" is " + std::to_string(number) +
                      ", it must be in [" + std::to_string(minimum) + ", " +
                      std::to_string(maximum) + "]");
        return number;
    }

    void read_meta(const TraceLine& line) {
        if (*line.type != "meta")
            fail_here(
                "a routing trace starts with a line of type meta: its first lines are "
                "missing; copy it again");
        top_k_ = need_between(line.top_k, "top_k", 1, kMaxTopK);
        const std::vector<std::int64_t>& layers = need(line.layers_logged, "layers_logged");
        if (layers.empty() || layers.size() > kMaxNumLayers)
            fail_here("\"layers_logged\" has " + std::to_string(layers.size()) + " layers");
        for (const std::int64_t layer : layers) {
            if (layer < 0 || layer > INT_MAX)
                fail_here("\"layers_logged\": " + std::to_string(layer) + " is no layer id");
            layers_.push_back(static_cast<int>(layer));
        }
        std::sort(layers_.begin(), layers_.end());
        const auto twice = std::adjacent_find(layers_.begin(), layers_.end());
        if (twice != layers_.end())
            fail_here("\"layers_logged\" has layer " + std::to_string(*twice) + " twice");
    }

    void read_route(const TraceLine& line) {
        if (*line.type == "meta")
            fail_here("a second line of type meta; a file holds one trace");
        if (*line.type != "route")
            fail_here("unknown type " + quoted_name(*line.type));
        Request& request = find_request(need(line.req_id, "req_id"));
        const std::int64_t token = need_between(line.token_idx, "token_idx", 0, INT64_MAX - 1);
        const int row = row_of(need(line.layer, "layer"));
        check_ids(line);
        mark(request, token, row);
        for (const std::int64_t id : *line.topk_ids)
            count_expert(request.counts[row], id);
    }

    Request& find_request(const std::string& id) {
        const auto [found, is_new] = positions_.try_emplace(id, requests_.size());
        if (is_new) {
            if (requests_.size() == INT_MAX)
                fail_here("more requests than any trace has");
            requests_.emplace_back().id = id;
        }
        return requests_[found->second];
    }

    int row_of(std::int64_t layer) const {
        const auto found = std::lower_bound(layers_.begin(), layers_.end(), layer);
        if (found == layers_.end() || *found != layer)
            fail_here("layer " + std::to_string(layer) + " is not in \"layers_logged\" of line 1");
        return static_cast<int>(found - layers_.begin());
    }

    void check_ids(const TraceLine& line) {
        const std::vector<std::int64_t>& ids = need(line.topk_ids, "topk_ids");
        if (ids.size() != static_cast<std::size_t>(top_k_))
            fail_here("\"topk_ids\" has " + std::to_string(ids.size()) +
                      " ids where \"top_k\" of line 1 is " + std::to_string(top_k_));
        if (line.num_topk_weights.value_or(ids.size()) != ids.size())
            fail_here("\"topk_weights\" has " + std::to_string(*line.num_topk_weights) +
                      " weights for " + std::to_string(ids.size()) + " ids");
        for (const std::int64_t id : ids)
            if (!ids_.accept(id))
                fail_here(ids_.fault(id));
        std::vector<std::int64_t> sorted = ids;
        std::sort(sorted.begin(), sorted.end());
        const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
        if (twice != sorted.end())
            fail_here("\"topk_ids\" has expert " + std::to_string(*twice) + " twice");
    }

    // notes that a token's row is there
    void mark(Request& request, std::int64_t token, int row) const {
        std::vector<bool>& rows = request.open[token];
        rows.resize(layers_.size());
        if (rows[row] || request.complete.contains(token))
            fail_here("request " + shown_id(request.id) + ", token " + std::to_string(token) +
                      ", layer " + std::to_string(layers_[row]) + " stands there twice");
        rows[row] = true;
        if (std::find(rows.begin(), rows.end(), false) != rows.end())
            return;
        request.complete.add(token);
        request.open.erase(token);
    }

    void check_complete() const {
        for (const Request& request : requests_)
            for (const auto& [token, rows] : request.open) {
                const auto row = std::find(rows.begin(), rows.end(), false) - rows.begin();
                throw Error(name_ + ": request " + shown_id(request.id) + ", token " +
                            std::to_string(token) + ": has no line for layer " +
                            std::to_string(layers_[row]) +
                            ": the trace was cut off; copy it again, or record again");
            }
    }

    std::string name_;
    long line_number_ = 0;
    std::int64_t top_k_ = 0;
    std::vector<int> layers_;  // ascending
    ExpertIds ids_;
    std::vector<Request> requests_;  // in the order of their first lines
    std::unordered_map<std::string, std::size_t> positions_;
};

}  // namespace

CountTable read_routing_trace(const std::string& path, int num_experts) {
    LineReader lines(path);
    TraceReader reader(lines.name(), num_experts);
    while (const std::optional<std::string_view> line = lines.next())
        reader.add_line(*line, lines.ended_in_newline());
    return reader.take();
}

CountTable parse_routing_trace(std::string_view text, const std::string& name, int num_experts) {
    TraceReader reader(name, num_experts);
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        reader.add_line(text.substr(0, end), end != std::string_view::npos);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return reader.take();
}

}  // namespace eplb
