#include "kernels/cuda/kernel_support.h"
#include "kernels/cuda/launch.h"
#include "lib/placement/route/slot_router.h"

// Experts to slots, and the order of rows by slot: both number the appearances of ids in order.
namespace eplb::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
// A block takes this many ids, a warp kWarpIds that follow each other.
constexpr int kBlockIds = kRoutingBlock;
constexpr int kRounds = kBlockIds / kThreads;
constexpr int kWarpIds = kBlockIds / kWarps;

std::size_t table_bytes(int num_keys) {
    return sizeof(std::uint16_t) * kWarps * static_cast<std::size_t>(num_keys);
}

// The id that this thread has in a round, of those of its block.
__device__ int place_in_block(int round) {
    const int thread = static_cast<int>(threadIdx.x);
    return thread / kWarpSize * kWarpIds + round * kWarpSize + thread % kWarpSize;
}

// The key of the i-th id of the block is key_of(i), i < num_ids; -1 counts as none. Afterwards
// numbers[round] tells how often the key of this thread's id has appeared before in the block, and
// total_of(key, n) was called for every key with how often it appears at all. table: [kWarps]
// [num_keys] in shared memory.
template <typename KeyOf, typename TotalOf>
__device__ void number_appearances(int num_ids,
                                   int num_keys,
                                   std::uint16_t* table,
                                   const KeyOf& key_of,
                                   const TotalOf& total_of,
                                   int (&keys)[kRounds],
                                   int (&numbers)[kRounds]) {
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarpSize;
    std::uint16_t* const of_warp = table + thread / kWarpSize * num_keys;
    for (int i = thread; i < kWarps * num_keys; i += kThreads)
        table[i] = 0;
    __syncthreads();
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
        const int i = place_in_block(round);
        const int key = i < num_ids ? key_of(i) : -1;
        const unsigned alike = __match_any_sync(kAllLanes, key);
        const int before = __popc(alike & ((1U << lane) - 1));
        const int earlier = key < 0 ? 0 : of_warp[key];
        __syncwarp();
        if (key >= 0 && before == 0)
            of_warp[key] = static_cast<std::uint16_t>(earlier + __popc(alike));
        __syncwarp();
        keys[round] = key;
        numbers[round] = earlier + before;
    }
    __syncthreads();
    // what the warps before have
    for (int key = thread; key < num_keys; key += kThreads) {
        int sum = 0;
        for (int warp = 0; warp < kWarps; ++warp) {
            const int count = table[warp * num_keys + key];
            table[warp * num_keys + key] = static_cast<std::uint16_t>(sum);
            sum += count;
        }
        total_of(key, sum);
    }
    __syncthreads();
#pragma unroll
    for (int round = 0; round < kRounds; ++round)
        if (keys[round] >= 0)
            numbers[round] += of_warp[keys[round]];
}

// Routing blocks begin anew at every rank. The rank and the number there of the block-th one of
// all; rank -1 behind the last. Called by a whole warp.
struct RoutingBlock {
    int rank;
    std::int64_t number;
};
__device__ RoutingBlock find_routing_block(const Backend::RankArguments& ranks,
                                           int top_k,
                                           std::int64_t block) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    for (int first = 0; first < ranks.num_ranks; first += kWarpSize) {
        const int rank = first + lane;
        std::int64_t num_blocks = 0;
        if (rank < ranks.num_ranks)
            num_blocks = ceil_div(
                static_cast<std::int64_t>(ranks.rank_begin[rank + 1] - ranks.rank_begin[rank]) *
                    top_k,
                kRoutingBlock);
        std::int64_t end = num_blocks;  // of this lane's rank, counted from `first` on
        for (int distance = 1; distance < kWarpSize; distance *= 2) {
            const std::int64_t before = __shfl_up_sync(kAllLanes, end, distance);
            end += lane >= distance ? before : 0;
        }
        const unsigned behind = __ballot_sync(kAllLanes, block < end ? 1 : 0);
        if (behind != 0) {
            const int found = __ffs(static_cast<int>(behind)) - 1;
            const std::int64_t begin = __shfl_sync(kAllLanes, end - num_blocks, found);
            return {first + found, block - begin};
        }
        block -= __shfl_sync(kAllLanes, end, kWarpSize - 1);
    }
    return {-1, 0};
}

__global__ void __launch_bounds__(kThreads, 4) assign_slots_kernel(Backend::SlotTables tables,
                                                                   Backend::RankArguments ranks,
                                                                   int first_rank,
                                                                   int top_k,
                                                                   const std::int32_t* expert_ids,
                                                                   std::int32_t* slot_ids,
                                                                   std::int32_t* counts) {
    const RoutingBlock block =
        find_routing_block(ranks, top_k, static_cast<std::int64_t>(blockIdx.x));
    if (block.rank < 0)
        return;
    const std::int64_t begin = static_cast<std::int64_t>(ranks.rank_begin[block.rank]) * top_k +
                               block.number * kRoutingBlock;
    const std::int64_t end = static_cast<std::int64_t>(ranks.rank_begin[block.rank + 1]) * top_k;
    const auto num_ids = static_cast<int>(end - begin < kBlockIds ? end - begin : kBlockIds);
    const int source_rank = first_rank + block.rank;

    int keys[kRounds];
    int numbers[kRounds];
    number_appearances(
        num_ids, tables.num_experts, dynamic_shared<std::uint16_t>(),
        [&](int i) {
            const std::int32_t expert = expert_ids[begin + i];
            return expert >= 0 && expert < tables.num_experts ? expert : -1;
        },
        [&](int expert, int total) {
            if (counts == nullptr || total == 0)
                return;
            const std::int32_t start = tables.start[expert];
            const std::int32_t num_replicas = tables.start[expert + 1] - start;
            std::int32_t* const of_rank =
                counts + static_cast<std::int64_t>(block.rank) * tables.num_slots;
            // appearance n, n + num_replicas, … go to the same slot
            for (int n = 0; n < std::min(total, num_replicas); ++n) {
                const std::int32_t replica = replica_of(n, block.number, source_rank, num_replicas);
                atomicAdd(&of_rank[tables.slot_ids[start + replica]],
                          (total - n + num_replicas - 1) / num_replicas);
            }
        },
        keys, numbers);
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
        const int i = place_in_block(round);
        if (i >= num_ids)
            continue;
        const int expert = keys[round];
        std::int32_t slot = tables.num_slots;  // of ids that are no expert
        if (expert >= 0) {
            const std::int32_t start = tables.start[expert];
            slot = tables.slot_ids[start + replica_of(numbers[round], block.number, source_rank,
                                                      tables.start[expert + 1] - start)];
        }
        slot_ids[begin + i] = slot;
    }
}

// The dispatch plan is a stable counting sort by slot. First every block of pairs counts its slots
// and numbers the pairs of each; block_counts [num_slots][num_blocks].
__global__ void __launch_bounds__(kThreads) count_slots_kernel(Backend::DispatchArguments dispatch,
                                                               std::int32_t* block_counts,
                                                               std::int32_t* numbers_in_block) {
    const int begin = static_cast<int>(blockIdx.x) * kBlockIds;
    const int left = dispatch.num_tokens * dispatch.top_k - begin;
    const int num_ids = left < kBlockIds ? left : kBlockIds;
    int keys[kRounds];
    int numbers[kRounds];
    number_appearances(
        num_ids, dispatch.num_slots, dynamic_shared<std::uint16_t>(),
        [&](int i) {
            const int token = (begin + i) / dispatch.top_k;
            const int k = (begin + i) % dispatch.top_k;
            const std::int64_t row = dispatch.tokens == nullptr ? token : dispatch.tokens[token];
            return dispatch.slot_ids[row * dispatch.top_k + k] - dispatch.first_slot;
        },
        [&](int slot, int total) {
            block_counts[static_cast<std::int64_t>(slot) * gridDim.x + blockIdx.x] = total;
        },
        keys, numbers);
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
        const int i = place_in_block(round);
        if (i < num_ids)
            numbers_in_block[begin + i] = numbers[round];
    }
}

// This lane's value and those of the lanes before.
__device__ std::int32_t sum_up_to_lane(std::int32_t value) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    for (int distance = 1; distance < kWarpSize; distance *= 2) {
        const std::int32_t before = __shfl_up_sync(kAllLanes, value, distance);
        value += lane >= distance ? before : 0;
    }
    return value;
}

// Then, a warp per slot, counts become what the blocks before have, and totals [num_slots] those of
// all blocks.
__global__ void __launch_bounds__(kThreads)
    add_blocks_kernel(int num_slots, int num_blocks, std::int32_t* counts, std::int32_t* totals) {
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarpSize;
    const int slot = static_cast<int>(blockIdx.x) * kWarps + thread / kWarpSize;
    if (slot >= num_slots)
        return;
    std::int32_t* const of_slot = counts + static_cast<std::int64_t>(slot) * num_blocks;
    std::int32_t sum = 0;
    for (int first = 0; first < num_blocks; first += kWarpSize) {
        const int block = first + lane;
        const std::int32_t count = block < num_blocks ? of_slot[block] : 0;
        const std::int32_t up_to = sum_up_to_lane(count);
        if (block < num_blocks)
            of_slot[block] = sum + up_to - count;
        sum += __shfl_sync(kAllLanes, up_to, kWarpSize - 1);
    }
    if (lane == 0)
        totals[slot] = sum;
}

// Then the totals, in slot_begin[1 …], become the rows where slots end. One block.
__global__ void __launch_bounds__(kThreads)
    add_slots_kernel(int num_slots, std::int32_t* slot_begin) {
    __shared__ std::int32_t warp_sums[kWarps];
    const int thread = static_cast<int>(threadIdx.x);
    std::int32_t before = 0;
    if (thread == 0)
        slot_begin[0] = 0;
    for (int first = 0; first < num_slots; first += kThreads) {
        const int slot = first + thread;
        const std::int32_t up_to = sum_up_to_lane(slot < num_slots ? slot_begin[slot + 1] : 0);
        if (thread % kWarpSize == kWarpSize - 1)
            warp_sums[thread / kWarpSize] = up_to;
        __syncthreads();
        std::int32_t sum = before + up_to;
        for (int warp = 0; warp < kWarps; ++warp) {
            before += warp_sums[warp];
            sum += warp < thread / kWarpSize ? warp_sums[warp] : 0;
        }
        if (slot < num_slots)
            slot_begin[slot + 1] = sum;
        __syncthreads();
    }
}

// At last every pair's row is known.
__global__ void __launch_bounds__(kThreads) place_rows_kernel(Backend::DispatchArguments dispatch,
                                                              Backend::DispatchRows plan,
                                                              int num_blocks,
                                                              const std::int32_t* block_counts) {
    const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    if (i >= dispatch.num_tokens * dispatch.top_k)
        return;
    const int pair_token = i / dispatch.top_k;
    const std::int32_t token =
        dispatch.tokens == nullptr ? pair_token : dispatch.tokens[pair_token];
    const std::int32_t slot_id =
        dispatch.slot_ids[static_cast<std::int64_t>(token) * dispatch.top_k + i % dispatch.top_k];
    const std::int32_t slot = slot_id - dispatch.first_slot;
    const std::int32_t row =
        plan.slot_begin[slot] +
        block_counts[static_cast<std::int64_t>(slot) * num_blocks + i / kBlockIds] + plan.rows[i];
    plan.rows[i] = row;
    plan.source_rows[row] = token;
    if (plan.row_slots != nullptr)
        plan.row_slots[row] = slot_id;
}

int num_dispatch_blocks(const Backend::DispatchArguments& dispatch) {
    return static_cast<int>(
        ceil_div(static_cast<std::int64_t>(dispatch.num_tokens) * dispatch.top_k, kBlockIds));
}

}  // namespace

void assign_slots(const Backend::SlotTables& tables,
                  const Backend::RankArguments& ranks,
                  int first_rank,
                  int num_tokens,
                  int top_k,
                  const std::int32_t* expert_ids,
                  std::int32_t* slot_ids,
                  std::int32_t* counts,
                  cudaStream_t stream) {
    if (tables.num_experts > kMostExperts)
        throw Error("dispatch: a GPU has slots for at most " + std::to_string(kMostExperts) +
                    " experts; use --backend cpu");
    if (num_tokens == 0)
        return;
    // every rank may have one block that is not full
    const std::int64_t num_blocks =
        ceil_div(static_cast<std::int64_t>(num_tokens) * top_k, kBlockIds) + ranks.num_ranks;
    launch("assign_slots", assign_slots_kernel, dim3(static_cast<unsigned>(num_blocks)), kThreads,
           table_bytes(tables.num_experts), stream, tables, ranks, first_rank, top_k, expert_ids,
           slot_ids, counts);
}

std::size_t dispatch_workspace_bytes(const Backend::DispatchArguments& dispatch) {
    return sizeof(std::int32_t) * static_cast<std::size_t>(dispatch.num_slots) *
           static_cast<std::size_t>(num_dispatch_blocks(dispatch));
}

void plan_dispatch(const Backend::DispatchArguments& dispatch,
                   const Backend::DispatchRows& plan,
                   void* workspace,
                   cudaStream_t stream) {
    if (dispatch.num_slots > kMostDispatchSlots)
        throw Error("dispatch: a GPU sorts at most " + std::to_string(kMostDispatchSlots) +
                    " slots; use --backend cpu");
    const int num_blocks = num_dispatch_blocks(dispatch);
    auto* const counts = static_cast<std::int32_t*>(workspace);
    if (num_blocks > 0) {
        launch("count_slots", count_slots_kernel, dim3(static_cast<unsigned>(num_blocks)), kThreads,
               table_bytes(dispatch.num_slots), stream, dispatch, counts, plan.rows);
    }
    // slots without rows begin and end somewhere too
    launch("add_blocks", add_blocks_kernel,
           dim3(static_cast<unsigned>(ceil_div(std::max(dispatch.num_slots, 1), kWarps))), kThreads,
           0, stream, dispatch.num_slots, num_blocks, counts, plan.slot_begin + 1);
    launch("add_slots", add_slots_kernel, dim3(1), kThreads, 0, stream, dispatch.num_slots,
           plan.slot_begin);
    if (num_blocks > 0) {
        const std::int64_t num_pairs =
            static_cast<std::int64_t>(dispatch.num_tokens) * dispatch.top_k;
        launch("place_rows", place_rows_kernel,
               dim3(static_cast<unsigned>(ceil_div(num_pairs, kThreads))), kThreads, 0, stream,
               dispatch, plan, num_blocks, counts);
    }
}

}  // namespace eplb::cuda
