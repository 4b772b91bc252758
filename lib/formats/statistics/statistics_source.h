#ifndef EPLB_FORMATS_STATISTICS_STATISTICS_SOURCE_H
#define EPLB_FORMATS_STATISTICS_STATISTICS_SOURCE_H

#include <optional>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "lib/formats/statistics/count_table.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"
#include "lib/statistics/selection.h"

namespace eplb {

// What statistics come in; docs/formats.md describes each.
enum class InputFormat {
    trtllm,         // TensorRT-LLM's folder
    stream,         // eplb-collect's
    sglang_stat,    // .pt of SGLang's recorder in mode stat or stat_approx
    sglang_passes,  // .pt files of modes per_pass and per_token
    sglang_json,
    counts_json,
    vllm_history,
    esft_text,
    routing_trace,
};

// As --input_format and messages name it: "sglang-stat".
std::string input_format_name(InputFormat format);
const std::vector<InputFormat>& input_formats();

// Not what the options take it for. Whoever catches it can add to the text how they are mended.
class RecordingMismatch : public Error {
  public:
    enum class Cause {
        is_config,        // where statistics were asked for
        experts_already,  // there is a config in force, but the ids are no slots
        perhaps_slots,    // the model has fewer experts, and there is no config in force
    };
    RecordingMismatch(Cause why, const std::string& text) : Error(text), cause(why) {}

    Cause cause;
};

// What a recording may not say by itself.
struct SourceOptions {
    std::optional<InputFormat> format;  // not given: recognised from the content
    // Of formats that name their layers, these must be among them.
    LayerOptions layers;
    int num_experts = 0;  // of formats that list ids alone; 0: not given
    // What the model's config.json says; used where a format needs it and the members above do not
    // say it.
    std::vector<int> model_moe_layers;  // empty: not known
    int model_num_experts = 0;          // 0: not known
};

// Looks into a file or folder. What it can make nothing of is taken for a stream, or a folder of
// TensorRT-LLM's, whose readers say what is wrong; so is what can be read only once ("-", a pipe).
// Error: a config, a single rank file, a .pt file that is no dump.
InputFormat recognize_statistics(const std::string& path);

struct SourceReading {
    ExpertStatistics statistics;
    InputFormat format = InputFormat::trtllm;
    std::vector<std::string> warnings;  // sentences without the path
};

// A folder, a file or "-": whichever `path` is. rows, where given, sees the counts of each source
// rank. Error: options that the format has no use for.
SourceReading read_source(const std::string& path,
                          const SourceOptions& options,
                          const StatisticsSelection& selection,
                          ThreadPool& threads,
                          RowSink* rows = nullptr);

// The same of a source that says all by itself.
ExpertStatistics read_statistics(const std::string& path,
                                 const StatisticsSelection& selection,
                                 ThreadPool& threads,
                                 RowSink* rows = nullptr);

}  // namespace eplb

#endif
