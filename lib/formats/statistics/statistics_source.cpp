#include "lib/formats/statistics/statistics_source.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/json_reader.h"
#include "lib/base/setting.h"
#include "lib/formats/statistics/count_readers.h"
#include "lib/formats/statistics/statistics_stream.h"
#include "lib/formats/statistics/trtllm_statistics.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;

// ---- recognition ----

bool has_extension(const fs::path& folder, std::string_view extension) {
    std::error_code ignored;
    for (fs::directory_iterator entry(folder, ignored), end; entry != end; entry.increment(ignored))
        if (entry->path().extension() == extension)
            return true;
    return false;
}

InputFormat recognize_dump(const fs::path& path) {
    return recognize_sglang_dump(path) == SglangDump::stat ? InputFormat::sglang_stat
                                                           : InputFormat::sglang_passes;
}

InputFormat recognize_folder(const fs::path& folder) {
    std::error_code ignored;
    if (fs::exists(folder / "meta_info.json", ignored) || has_extension(folder, ".safetensors"))
        return InputFormat::trtllm;
    if (has_extension(folder, ".pt"))
        return recognize_dump(folder);
    return has_extension(folder, ".txt") ? InputFormat::esft_text : InputFormat::trtllm;
}

// "103\t", as a line of ids begins
bool begins_with_ids(std::string_view text) {
    const std::size_t end = text.find_first_not_of("0123456789");
    return end != 0 && end != std::string_view::npos && text[end] == '\t';
}

// What keys of a file's outermost object tell of it, of the first that is known. none: a config.
struct TellingKey {
    const char* key;
    std::optional<InputFormat> format;
};
constexpr TellingKey kTellingKeys[] = {{"format", InputFormat::stream},
                                       {"type", InputFormat::routing_trace},
                                       {"logical_count", InputFormat::sglang_json},
                                       {"counts", InputFormat::counts_json},
                                       {"load_history", InputFormat::vllm_history},
                                       {"model_maps", std::nullopt},
                                       {"moe_layer_count", std::nullopt},
                                       {"physical_to_logical_map", std::nullopt}};

// Null where there is none, or the file is no JSON up to there. Reads no further than needed.
const TellingKey* find_telling_key(const std::string& path) {
    const MappedFile file(path);
    const std::span<const std::byte> bytes = file.bytes();
    JsonReader json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path + ": ");
    std::string key;
    try {
        for (json.open_object(); json.next_member(key); json.skip())
            for (const TellingKey& telling : kTellingKeys)
                if (key == telling.key)
                    return &telling;
    } catch (const Error&) {  // which the reader of the format would say better
    }
    return nullptr;
}

InputFormat recognize_json(const std::string& path) {
    const TellingKey* const found = find_telling_key(path);
    if (found == nullptr)
        throw Error(
            path +
            ": is no JSON of statistics, or damaged: of these, the key logical_count, counts "
            "or load_history is looked for, and \"format\" or \"type\" in lines of JSON");
    if (!found->format)
        throw RecordingMismatch(RecordingMismatch::Cause::is_config,
                                path + ": is a config, not statistics");
    return *found->format;
}

InputFormat recognize_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string head(1 << 12, '\0');
    file.read(head.data(), static_cast<std::streamsize>(head.size()));
    head.resize(file.gcount());
    const bool is_pickle = head.starts_with('\x80');  // of a torch before 1.6
    if (head.starts_with("PK\3\4") || is_pickle)
        return recognize_dump(path);
    const std::size_t first = head.find_first_not_of(" \t\r\n");
    if (first != std::string::npos && (head[first] == '{' || head[first] == '['))
        return recognize_json(path);
    return begins_with_ids(head) ? InputFormat::esft_text : InputFormat::stream;
}

// ---- reading ----

// The whole content of a file, or of standard input.
std::string read_text(const std::string& path) {
    return read_file(path == "-" ? "/dev/stdin" : path);
}

std::string name_of(const std::string& path) {
    return path == "-" ? "standard input" : path;
}

void check_is_no_pipe(const std::string& path, InputFormat format) {
    if (path == "-")
        throw Error("standard input: " + input_format_name(format) +
                    " comes in files; name a file or folder");
}

CountTable read_table(const std::string& path,
                      InputFormat format,
                      const SourceOptions& options,
                      bool sum_sources) {
    switch (format) {
        case InputFormat::sglang_stat:
            check_is_no_pipe(path, format);
            return read_sglang_stat(path);
        case InputFormat::sglang_passes:
            check_is_no_pipe(path, format);
            return read_sglang_passes(path, sum_sources);
        case InputFormat::sglang_json:
            return parse_sglang_json(read_text(path), name_of(path));
        case InputFormat::counts_json:
            return parse_counts_json(read_text(path), name_of(path));
        case InputFormat::vllm_history:
            return parse_vllm_history(read_text(path), name_of(path));
        case InputFormat::esft_text:
            check_is_no_pipe(path, format);
            return read_esft_text(path, options.num_experts);
        case InputFormat::routing_trace:
            return read_routing_trace(path, options.num_experts);
        case InputFormat::trtllm:
        case InputFormat::stream:
            break;
    }
    throw std::logic_error("not a table");
}

// All but the counts, which may be too many to copy.
ExpertStatistics shape_of(ExpertStatistics& statistics) {
    std::vector<std::int64_t> counts = std::exchange(statistics.counts, {});
    ExpertStatistics shape = statistics;
    statistics.counts = std::move(counts);
    return shape;
}

// Shows all rows of the selected iterations, then adds the sources up where that is wanted.
ExpertStatistics select(ExpertStatistics all,
                        const StatisticsSelection& selection,
                        const std::string& name,
                        RowSink* rows) {
    const IterationRange range =
        select_iterations(selection, {all.iter_start, all.iter_stop()}, name);
    ExpertStatistics selected = shape_of(all);
    selected.iter_start = range.start;
    selected.num_iterations = static_cast<int>(range.stop - range.start);
    if (rows != nullptr)
        rows->begin(selected);
    if (selection.sum_sources)
        selected.num_sources = 1;
    const bool is_all =
        selected.num_iterations == all.num_iterations && selected.num_sources == all.num_sources;
    if (!is_all)
        selected.allocate();
    const auto first = static_cast<int>(range.start - all.iter_start);
    for (int iteration = 0; iteration < selected.num_iterations; ++iteration)
        for (int layer = 0; layer < all.num_layers(); ++layer)
            for (int source = 0; source < all.num_sources; ++source) {
                const std::span<const std::int64_t> row =
                    std::as_const(all).row(first + iteration, layer, source);
                if (rows != nullptr)
                    rows->add(range.start + iteration, layer, source, row);
                if (is_all)
                    continue;
                const auto sums =
                    selected.row(iteration, layer, selection.sum_sources ? 0 : source);
                std::transform(row.begin(), row.end(), sums.begin(), sums.begin(), std::plus<>());
            }
    if (is_all)
        selected.counts = std::move(all.counts);
    return selected;
}

bool lists_ids_alone(InputFormat format) {
    return format == InputFormat::esft_text || format == InputFormat::routing_trace;
}

bool names_layers(InputFormat format) {
    return lists_ids_alone(format) || format == InputFormat::trtllm ||
           format == InputFormat::stream;
}

// The options that the format needs, where they are not given taken from the model's.
SourceOptions resolve(const std::string& path, InputFormat format, SourceOptions options) {
    if (options.num_experts > 0 && !lists_ids_alone(format))
        throw UsageError(name_of(path) + ": " + input_format_name(format) +
                         " says how many experts there are; leave " + setting("num_experts") +
                         " out");
    if (options.num_experts == 0)
        options.num_experts = options.model_num_experts;
    if (!options.layers.first_moe_layer && options.layers.moe_layers.empty() &&
        !names_layers(format))
        options.layers.moe_layers = options.model_moe_layers;
    return options;
}

// The options describe the model: a recording that names another layer is of another one. Layers of
// multi-token prediction may follow.
void check_named_layers(const ExpertStatistics& statistics,
                        const LayerOptions& options,
                        const std::string& name) {
    const std::vector<int>& list = options.moe_layers;
    for (const int layer : statistics.layers)
        if (layer < options.first_moe_layer.value_or(0) ||
            (!list.empty() && layer <= list.back() &&
             !std::binary_search(list.begin(), list.end(), layer)))
            throw Error(name + ": holds tokens of layer " + std::to_string(layer) + ", while " +
                        (list.empty() ? setting("first_moe_layer") : setting("moe_layers")) +
                        " says that it has no experts");
}

// What can be read only once is taken for a stream unless its format is named.
ExpertStatistics read_stream(const std::string& path,
                             bool is_named,
                             const StatisticsSelection& selection,
                             RowSink* rows) {
    std::error_code ignored;
    try {
        return read_statistics_stream(path, selection, rows);
    } catch (const NoStreamError& error) {
        if (is_named || fs::is_regular_file(path, ignored))
            throw;
        throw Error(
            std::string(error.what()) +
            "; a pipe is taken for a stream of eplb-collect, other formats are named with " +
            setting("input_format"));
    }
}

}  // namespace

std::string input_format_name(InputFormat format) {
    switch (format) {
        case InputFormat::trtllm:
            return "trtllm";
        case InputFormat::stream:
            return "stream";
        case InputFormat::sglang_stat:
            return "sglang-stat";
        case InputFormat::sglang_passes:
            return "sglang-passes";
        case InputFormat::sglang_json:
            return "sglang-json";
        case InputFormat::counts_json:
            return "counts-json";
        case InputFormat::vllm_history:
            return "vllm-history";
        case InputFormat::esft_text:
            return "esft-text";
        case InputFormat::routing_trace:
            return "routing-trace";
    }
    throw std::logic_error("no format");
}

const std::vector<InputFormat>& input_formats() {
    static const std::vector<InputFormat> formats = {
        InputFormat::trtllm,        InputFormat::stream,      InputFormat::sglang_stat,
        InputFormat::sglang_passes, InputFormat::sglang_json, InputFormat::counts_json,
        InputFormat::vllm_history,  InputFormat::esft_text,   InputFormat::routing_trace};
    return formats;
}

InputFormat recognize_statistics(const std::string& path) {
    std::error_code ignored;
    const auto status = fs::status(path, ignored);
    if (path == "-")
        return InputFormat::stream;
    if (status.type() == fs::file_type::not_found)
        throw Error(path + ": no such file or folder; name a statistics folder, a file or -");
    if (fs::is_directory(status))
        return recognize_folder(path);
    if (path.ends_with(".safetensors"))
        throw Error(path + ": is one file of a statistics folder; name the folder");
    return fs::is_regular_file(status) ? recognize_file(path) : InputFormat::stream;
}

SourceReading read_source(const std::string& path,
                          const SourceOptions& given,
                          const StatisticsSelection& selection,
                          ThreadPool& threads,
                          RowSink* rows) {
    SourceReading reading;
    reading.format = given.format ? *given.format : recognize_statistics(path);
    const SourceOptions options = resolve(path, reading.format, given);
    if (reading.format == InputFormat::trtllm) {
        check_is_no_pipe(path, reading.format);
        reading.statistics = read_trtllm_statistics(path, selection, threads, rows);
    } else if (reading.format == InputFormat::stream) {
        reading.statistics = read_stream(path, given.format.has_value(), selection, rows);
    } else {
        CountTable table =
            read_table(path, reading.format, options, selection.sum_sources && rows == nullptr);
        reading.warnings = std::move(table.warnings);
        const LayerOptions layers = names_layers(reading.format) ? LayerOptions{} : options.layers;
        reading.statistics = select(number_layers(std::move(table), layers, name_of(path)),
                                    selection, name_of(path), rows);
    }
    if (names_layers(reading.format))
        check_named_layers(reading.statistics, options.layers, name_of(path));
    return reading;
}

ExpertStatistics read_statistics(const std::string& path,
                                 const StatisticsSelection& selection,
                                 ThreadPool& threads,
                                 RowSink* rows) {
    return read_source(path, {}, selection, threads, rows).statistics;
}

}  // namespace eplb
