#ifndef EPLB_FORMATS_STATISTICS_RECORDING_H
#define EPLB_FORMATS_STATISTICS_RECORDING_H

#include <functional>
#include <optional>
#include <string>

#include "lib/base/parallel.h"
#include "lib/formats/statistics/statistics_source.h"
#include "lib/model/model_shape.h"
#include "lib/placement/route/recorded_under.h"
#include "lib/placement/route/slot_fold.h"
#include "lib/statistics/row_sink.h"
#include "lib/statistics/selection.h"

// Statistics with what is known of how they were made.
namespace eplb {

// The model that ran.
struct RecordedModel {
    std::string name;  // of its config.json, for messages
    ModelShape shape;
};

struct RecordingOptions {
    std::optional<InputFormat> format;  // not given: told from the content
    LayerOptions layers;
    int num_experts = 0;  // 0: not given
    StatisticsSelection selection;
    std::optional<RecordedModel> model = {};
    std::optional<ConfigInForce> in_force = {};
};

struct RecordingReading {
    ExpertStatistics statistics;
    std::optional<RecordedUnder> under;  // where slots were folded to experts
};

// Reads a folder, a file or "-". warn() is told what is odd about it, "PATH: …". rows, if not null,
// sees each source rank's counts, of experts where they are folded. Error: no tokens at all, a
// RecordingMismatch, what the reader refuses.
RecordingReading read_recording(const std::string& path,
                                const RecordingOptions& options,
                                const std::function<void(const std::string&)>& warn,
                                ThreadPool& threads,
                                RowSink* rows = nullptr);

}  // namespace eplb

#endif
