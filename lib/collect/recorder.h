#ifndef EPLB_COLLECT_RECORDER_H
#define EPLB_COLLECT_RECORDER_H

#include <cstdint>
#include <optional>
#include <string>

#include "lib/base/file.h"
#include "lib/collect/harness.h"
#include "lib/formats/statistics_stream.h"
#include "lib/formats/trtllm_statistics.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb {

// Keeps the counts of the iterations in [iter_start, iter_stop) and writes them: to a folder in
// TensorRT-LLM's format when all is done, to "-" (standard output, as a stream) as it goes.
class Recorder {
  public:
    // What is recorded: num_experts (slots under EPLB), top_k, ep_size, layers, ids, iter_start.
    // The destination is opened at once, so that a bad path fails before the work.
    Recorder(const ExpertStatistics& shape,
             std::int64_t iter_stop,
             const std::string& path,
             bool keep_ids);

    bool wants(std::int64_t iteration) const {
        return iteration >= range_.start && iteration < range_.stop;
    }

    // To be called with every iteration of the range, in order. tokens gives the ranks' shares of
    // counts.slot_ids.
    void record(const IterationCounts& counts, const IterationTokens& tokens);

    // All iterations at once, instead.
    void record(ExpertStatistics statistics, std::optional<RoutedIds> routed_ids);

    // Writes what has been recorded, if anything has been.
    void finish();

    int num_recorded() const { return num_recorded_; }

  private:
    void keep_ids(const IterationCounts& counts, const IterationTokens& tokens);

    ExpertStatistics statistics_;  // for a stream: of the current iteration alone
    IterationRange range_;
    int num_recorded_ = 0;
    std::optional<RoutedIds> routed_ids_;
    std::optional<TrtllmStatisticsFolder> folder_;
    std::optional<OutputFile> output_;
    std::optional<StatisticsStreamWriter> stream_;
};

}  // namespace eplb

#endif
