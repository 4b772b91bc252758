#ifndef EPLB_FORMATS_STATISTICS_TRTLLM_COOCCURRENCE_H
#define EPLB_FORMATS_STATISTICS_TRTLLM_COOCCURRENCE_H

#include <filesystem>
#include <optional>

#include "lib/base/parallel.h"
#include "lib/statistics/cooccurrence.h"
#include "lib/statistics/selection.h"

// What a TensorRT-LLM statistics folder (trtllm_statistics.h) may hold besides for pairs of
// experts:
//
//   cooccurrence_rank{r}.safetensors   per key "{iteration}_{layer}" the pairs of the tokens of
//                         source rank r, [num_experts, num_experts] I32 (I64 is read too): every
//                         ordered pair of a token's ids adds one, an id with itself included
namespace eplb {

// Reads the pairs of the selected iterations, summed over them and the source ranks (whatever
// selection.sum_sources says): counted from the routed ids where the folder has them, else from the
// cooccurrence files; nothing if it has neither. Routed ids that are incomplete count as none;
// where they are all that there is, that is an Error.
//
// Strict: the counts are read as well, and pairs that do not agree with them, a wrong shape or
// dtype, a negative or absurd entry, a matrix that is not symmetric, and a row that is not that of
// tokens with top_k experts each are Errors that name file, key and remedy.
std::optional<ExpertCooccurrence> read_trtllm_cooccurrence(const std::filesystem::path& folder,
                                                           const StatisticsSelection& selection,
                                                           ThreadPool& threads);

}  // namespace eplb

#endif
