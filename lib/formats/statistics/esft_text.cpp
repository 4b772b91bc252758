#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <span>
#include <system_error>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/formats/statistics/count_readers.h"
#include "lib/formats/statistics/expert_ids.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".txt";

// Counts are made once the number of experts is known: until then a short line with a high id would
// take as much memory as one with an id for each expert.
struct Layer {
    std::string name;
    std::size_t num_bytes = 0;             // of its text
    std::vector<std::int32_t> expert_ids;  // of all samples, one after the other
    std::vector<std::size_t> sample_ends;  // in expert_ids

    std::span<const std::int32_t> sample(std::size_t i) const {
        const std::size_t begin = i == 0 ? 0 : sample_ends[i - 1];
        return std::span(expert_ids).subspan(begin, sample_ends[i] - begin);
    }
};

// Counts that a byte of text may come to: even a sample of a single token has an id and a weight,
// of several bytes each, for every hundred experts or so.
constexpr std::size_t kMaxCountsPerByte = 64;
// Tables up to this are small whatever the text.
constexpr std::size_t kSmallTable = std::size_t{1} << 24;

template <typename Number>
bool parse_number(std::string_view text, Number& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size();
}

// the part before the next separator, which goes with it
std::string_view take_part(std::string_view& text, char separator) {
    const std::string_view part = text.substr(0, text.find(separator));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    return part;
}

// One line: ids, an empty field, as many weights.
class SampleParser {
  public:
    SampleParser(std::string_view line, std::string where, ExpertIds& ids)
        : rest_(line), where_(std::move(where)), ids_(ids) {}

    void parse(Layer& layer) {
        if (rest_.empty())
            fail("is empty; a line is a sample with tokens");
        const std::size_t begin = layer.expert_ids.size();
        while (true) {
            if (is_at_end_)
                fail(
                    "has no empty field between expert ids and gate weights: it was cut off; "
                    "copy the file again");
            const std::string_view field = next_field();
            if (field.empty())
                break;
            add_id(layer, field);
        }
        const std::size_t num_ids = layer.expert_ids.size() - begin;
        if (num_ids == 0)
            fail("has no expert ids");
        std::size_t num_weights = 0;
        for (; !is_at_end_; ++num_weights)
            check_weight(next_field());
        if (num_weights != num_ids)
            fail("has " + std::to_string(num_ids) + " expert ids and " +
                 std::to_string(num_weights) +
                 " gate weights; a sample has as many of both: copy the file again");
        layer.sample_ends.push_back(layer.expert_ids.size());
    }

  private:
    [[noreturn]] void fail(const std::string& what) const { throw Error(where_ + what); }

    std::string_view next_field() {
        ++field_;
        is_at_end_ = rest_.find('\t') == std::string_view::npos;
        return take_part(rest_, '\t');
    }

    [[noreturn]] void fail_at_field(std::string_view field, const char* what) const {
        fail("field " + std::to_string(field_) + ", \"" + std::string(field.substr(0, 40)) +
             "\", " + what);
    }

    void add_id(Layer& layer, std::string_view field) {
        std::int64_t id = 0;
        if (!parse_number(field, id))
            fail_at_field(field, "is no expert id");
        if (!ids_.accept(id))
            fail(ids_.fault(id));
        layer.expert_ids.push_back(static_cast<std::int32_t>(id));
    }

    void check_weight(std::string_view field) const {
        double weight = 0;
        if (!parse_number(field, weight) || !std::isfinite(weight))
            fail_at_field(field, "is no gate weight");
    }

    std::string_view rest_;
    std::string where_;
    ExpertIds& ids_;
    bool is_at_end_ = false;
    long field_ = 0;  // number of the one read last, from 1
};

Layer parse_layer(std::string_view text, const std::string& name, ExpertIds& ids) {
    if (text.empty())
        throw Error(name + ": is empty: nothing was recorded; record again");
    Layer layer;
    layer.name = name;
    layer.num_bytes = text.size();
    for (long line_number = 1; !text.empty(); ++line_number) {
        std::string_view line = take_part(text, '\n');
        if (line.ends_with('\r'))
            line.remove_suffix(1);
        const std::string where = name + ": line " + std::to_string(line_number) + ": ";
        SampleParser(line, where, ids).parse(layer);
    }
    return layer;
}

// A sample passes through all layers with the same tokens.
void check_same_samples(const Layer& first, const Layer& other) {
    const char* const remedy = ": the files are of different runs; copy those of one";
    if (other.sample_ends.size() != first.sample_ends.size())
        throw Error(other.name + ": has " + std::to_string(other.sample_ends.size()) + " lines, " +
                    first.name + " has " + std::to_string(first.sample_ends.size()) + remedy);
    for (std::size_t i = 0; i < first.sample_ends.size(); ++i)
        if (other.sample(i).size() != first.sample(i).size())
            throw Error(other.name + ": line " + std::to_string(i + 1) + ": has " +
                        std::to_string(other.sample(i).size()) + " expert ids, " + first.name +
                        " has " + std::to_string(first.sample(i).size()) + remedy);
}

void check_proportion(const std::map<int, Layer>& layers, int num_experts) {
    const Layer& first = layers.begin()->second;
    std::size_t num_samples = 0;  // of all layers
    std::size_t num_bytes = 0;
    for (const auto& [layer_id, layer] : layers) {
        num_samples += layer.sample_ends.size();
        num_bytes += layer.num_bytes;
    }
    const std::size_t most = std::max(kMaxCountsPerByte * num_bytes, kSmallTable);
    if (num_samples > most / static_cast<std::size_t>(num_experts))
        throw Error(first.name + ": " + std::to_string(num_samples) + " samples in " +
                    std::to_string(num_bytes) + " bytes are too short for a model of " +
                    std::to_string(num_experts) +
                    " experts: this is no ESFT text, or one with a wrong id or number of experts; "
                    "a line holds all tokens of a sample");
}

CountTable make_table(const std::map<int, Layer>& layers, const ExpertIds& ids) {
    const Layer& first = layers.begin()->second;
    CountTable table;
    table.layer_rows = LayerRows::by_id;
    for (const auto& [layer_id, layer] : layers)
        table.layers.push_back(layer_id);
    table.num_experts = ids.num_experts();
    table.num_iterations = static_cast<int>(first.sample_ends.size());
    ids.warn(table.warnings);
    for (const auto& [layer_id, layer] : layers)
        check_same_samples(first, layer);
    check_proportion(layers, table.num_experts);
    table.allocate(table.num_layers(), first.name);
    int row = 0;
    for (const auto& [layer_id, layer] : layers) {
        for (int iteration = 0; iteration < table.num_iterations; ++iteration) {
            const std::span<std::int64_t> counts = table.row(iteration, row, 0);
            for (const std::int32_t id : layer.sample(static_cast<std::size_t>(iteration)))
                ++counts[id];
        }
        ++row;
    }
    return table;
}

// the last number in a file's name
int layer_of(const fs::path& path) {
    const std::string file_name = path.filename().string();
    std::string_view text = file_name;
    if (text.ends_with(kSuffix))
        text.remove_suffix(kSuffix.size());
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    const auto last = std::find_if(text.rbegin(), text.rend(), is_digit);
    const auto before = std::find_if_not(last, text.rend(), is_digit);
    const auto begin = static_cast<std::size_t>(text.rend() - before);
    const auto size = static_cast<std::size_t>(before - last);
    int layer = 0;
    if (!parse_number(text.substr(begin, size), layer))
        throw Error(path.string() +
                    ": has no layer id in its name; name it like layer_3.txt, or move it away");
    return layer;
}

std::map<int, fs::path> find_layers(const fs::path& path) {
    std::error_code error;
    if (!fs::is_directory(path, error))
        return {{layer_of(path), path}};
    std::vector<fs::path> files;
    for (fs::directory_iterator entry(path, error), end; !error && entry != end;
         entry.increment(error))
        if (entry->path().extension() == kSuffix)
            files.push_back(entry->path());
    if (error)
        throw Error(path.string() + ": cannot list the folder: " + error.message());
    if (files.empty())
        throw Error(path.string() + ": holds no .txt file of a layer");
    std::sort(files.begin(), files.end());  // so that messages do not depend on the file system
    std::map<int, fs::path> layers;
    for (const fs::path& file : files) {
        const int layer = layer_of(file);
        const auto [other, is_new] = layers.emplace(layer, file);
        if (!is_new)
            throw Error(file.string() + ": is layer " + std::to_string(layer) +
                        " by its name, as " + other->second.filename().string() +
                        " is; move one of them out of the folder");
    }
    return layers;
}

}  // namespace

CountTable parse_esft_text(const std::vector<EsftLayer>& layers, int num_experts) {
    ExpertIds ids(num_experts);
    std::map<int, Layer> parsed;
    for (const EsftLayer& layer : layers)
        parsed.emplace(layer.layer, parse_layer(layer.text, layer.name, ids));
    return make_table(parsed, ids);
}

CountTable read_esft_text(const fs::path& path, int num_experts) {
    ExpertIds ids(num_experts);
    std::map<int, Layer> parsed;
    for (const auto& [layer, file] : find_layers(path))
        parsed.emplace(layer, parse_layer(read_file(file), file.string(), ids));
    return make_table(parsed, ids);
}

}  // namespace eplb
