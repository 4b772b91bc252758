#include "lib/collect/expert_parallel.h"

#include <algorithm>

namespace eplb {

int num_chunks(std::int64_t num_tokens, int max_num_tokens) {
    if (max_num_tokens == 0 || num_tokens <= max_num_tokens)
        return 1;
    return static_cast<int>((num_tokens + max_num_tokens - 1) / max_num_tokens);
}

TokenRange chunk_of(std::int32_t num_tokens, int num_chunks, int chunk) {
    const std::int32_t size = num_tokens / num_chunks;
    const std::int32_t num_larger = num_tokens % num_chunks;
    const std::int32_t begin = chunk * size + std::min(chunk, num_larger);
    return {begin, begin + size + (chunk < num_larger ? 1 : 0)};
}

}  // namespace eplb
