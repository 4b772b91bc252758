#ifndef EPLB_TESTS_BENCH_PLACEMENT_REAL_DATA_H
#define EPLB_TESTS_BENCH_PLACEMENT_REAL_DATA_H

#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/statistics/expert_statistics.h"

namespace eplb::bench {

struct Recording {
    std::string name;
    ExpertStatistics statistics;
};

// What real models counted, from the data beside the source tree. Where it is not there, they say
// so on stdout and return nothing.

// DeepSeek-R1, a sum per workload: four of prefill, then two of decode; 58 layers x 256 experts.
std::vector<Recording> read_workloads();
constexpr std::size_t kNumPrefill = 4;

// DeepSeek-V2-Lite, per iteration and source rank: two kinds of text; 26 layers x 64 experts.
constexpr int kRecordedRanks = 8;
constexpr int kRecordedTokens = 32;  // of each source rank in an iteration
std::vector<Recording> read_routes(ThreadPool& threads);
// The same tokens in the same order, but tokens_per_rank of each source rank in an iteration.
std::vector<Recording> read_routes(int tokens_per_rank, ThreadPool& threads);

}  // namespace eplb::bench

#endif
