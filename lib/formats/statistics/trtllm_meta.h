#ifndef EPLB_FORMATS_STATISTICS_TRTLLM_META_H
#define EPLB_FORMATS_STATISTICS_TRTLLM_META_H

#include <filesystem>
#include <string>

#include "lib/statistics/expert_statistics.h"

// meta_info.json of a TensorRT-LLM statistics folder; trtllm_statistics.h describes the folder.
namespace eplb {

constexpr const char* kTrtllmMetaName = "meta_info.json";

struct TrtllmMeta {
    int num_experts = 0;
    int top_k = 0;             // "num_experts_per_token"
    int ep_size = 0;           // 0: not given
    int experts_per_rank = 0;  // num_experts / ep_size, rounded down; -1: not given
    IdKind ids = IdKind::unstated;
    int layer_updates_per_iter = 0;
};

// Error: no folder, no such file in it, `null`, a member missing, of a wrong type or out of range.
TrtllmMeta read_trtllm_meta(const std::filesystem::path& folder);

// Throws where the meta file was written for another number of ranks than the folder holds.
void check_num_ranks(const TrtllmMeta& meta, const std::filesystem::path& folder, int num_ranks);

// As Python's json.dump spells it.
std::string format_trtllm_meta(const ExpertStatistics& statistics);

}  // namespace eplb

#endif
