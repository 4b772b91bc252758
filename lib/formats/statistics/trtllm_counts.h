#ifndef EPLB_FORMATS_STATISTICS_TRTLLM_COUNTS_H
#define EPLB_FORMATS_STATISTICS_TRTLLM_COUNTS_H

#include "lib/base/parallel.h"
#include "lib/formats/statistics/rank_files.h"
#include "lib/formats/statistics/trtllm_num_tokens.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"

// The tensors of the rank files of a TensorRT-LLM statistics folder: [num_experts] I64 or I32 each.
namespace eplb {

// Throws where a tensor is not that.
void check_counts_tensors(const RankFiles& recording, int num_experts);

// Adds the counts of the statistics' iterations to its rows, which are allocated and zero. Error: a
// count is negative or absurd, or is not what num_tokens says. rows may be null.
void read_counts(const RankFiles& recording,
                 const TrtllmNumTokens& num_tokens,
                 ExpertStatistics& statistics,
                 ThreadPool& threads,
                 RowSink* rows);

}  // namespace eplb

#endif
