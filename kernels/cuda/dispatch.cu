#include "kernels/cuda/kernel_support.h"
#include "kernels/cuda/launch.h"
#include "lib/base/setting.h"

// The order of rows by place: a stable counting sort of the (token, k) pairs.
namespace eplb::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
// A block takes this many pairs, a warp kWarpPairs that follow each other.
constexpr int kBlockPairs = 1024;
constexpr int kWarpPairs = kBlockPairs / kWarps;
constexpr int kRounds = kWarpPairs / kWarpSize;

// First every block numbers its pairs by place and counts them: block_counts
// [num_places][num_blocks].
__global__ void __launch_bounds__(kThreads) count_pairs_kernel(Backend::DispatchArguments dispatch,
                                                               std::int32_t* block_counts,
                                                               std::int32_t* numbers_in_block) {
    const int thread = static_cast<int>(threadIdx.x);
    const int warp = thread / kWarpSize;
    const int lane = thread % kWarpSize;
    const int num_pairs = dispatch.num_tokens * dispatch.top_k;
    const int first_pair = static_cast<int>(blockIdx.x) * kBlockPairs + warp * kWarpPairs + lane;
    // what each warp has: [kWarps][num_places]
    auto* const table = dynamic_shared<std::uint16_t>();
    std::uint16_t* const of_warp = table + warp * dispatch.num_places;
    for (int i = thread; i < kWarps * dispatch.num_places; i += kThreads)
        table[i] = 0;
    __syncthreads();
    int places[kRounds];  // -1 behind the last pair
    int numbers[kRounds];
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
        const int pair = first_pair + round * kWarpSize;
        const int place = pair < num_pairs ? dispatch.place_ids[pair] - dispatch.first_place : -1;
        const unsigned alike = __match_any_sync(kAllLanes, place);
        const int before = __popc(alike & ((1U << lane) - 1));
        const int earlier = place < 0 ? 0 : of_warp[place];
        __syncwarp();
        if (place >= 0 && before == 0)
            of_warp[place] = static_cast<std::uint16_t>(earlier + __popc(alike));
        __syncwarp();
        places[round] = place;
        numbers[round] = earlier + before;
    }
    __syncthreads();
    // what the warps before have
    for (int place = thread; place < dispatch.num_places; place += kThreads) {
        int sum = 0;
        for (int w = 0; w < kWarps; ++w) {
            const int count = table[w * dispatch.num_places + place];
            table[w * dispatch.num_places + place] = static_cast<std::uint16_t>(sum);
            sum += count;
        }
        block_counts[static_cast<std::int64_t>(place) * gridDim.x + blockIdx.x] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int round = 0; round < kRounds; ++round)
        if (places[round] >= 0)
            numbers_in_block[first_pair + round * kWarpSize] =
                numbers[round] + of_warp[places[round]];
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

// Then, a warp per place, counts become what the blocks before have, and totals [num_places] those
// of all blocks.
__global__ void __launch_bounds__(kThreads)
    add_blocks_kernel(int num_places, int num_blocks, std::int32_t* counts, std::int32_t* totals) {
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarpSize;
    const int place = static_cast<int>(blockIdx.x) * kWarps + thread / kWarpSize;
    if (place >= num_places)
        return;
    std::int32_t* const of_place = counts + static_cast<std::int64_t>(place) * num_blocks;
    std::int32_t sum = 0;
    for (int first = 0; first < num_blocks; first += kWarpSize) {
        const int block = first + lane;
        const std::int32_t count = block < num_blocks ? of_place[block] : 0;
        const std::int32_t up_to = sum_up_to_lane(count);
        if (block < num_blocks)
            of_place[block] = sum + up_to - count;
        sum += __shfl_sync(kAllLanes, up_to, kWarpSize - 1);
    }
    if (lane == 0)
        totals[place] = sum;
}

// Then the totals, in place_begin[1 …], become the rows where places end. One block.
__global__ void __launch_bounds__(kThreads)
    add_places_kernel(int num_places, std::int32_t* place_begin) {
    __shared__ std::int32_t warp_sums[kWarps];
    const int thread = static_cast<int>(threadIdx.x);
    std::int32_t before = 0;
    if (thread == 0)
        place_begin[0] = 0;
    for (int first = 0; first < num_places; first += kThreads) {
        const int place = first + thread;
        const std::int32_t up_to = sum_up_to_lane(place < num_places ? place_begin[place + 1] : 0);
        if (thread % kWarpSize == kWarpSize - 1)
            warp_sums[thread / kWarpSize] = up_to;
        __syncthreads();
        std::int32_t sum = before + up_to;
        for (int warp = 0; warp < kWarps; ++warp) {
            before += warp_sums[warp];
            sum += warp < thread / kWarpSize ? warp_sums[warp] : 0;
        }
        if (place < num_places)
            place_begin[place + 1] = sum;
        __syncthreads();
    }
}

// At last every pair's row is known.
__global__ void __launch_bounds__(kThreads) place_rows_kernel(Backend::DispatchArguments dispatch,
                                                              Backend::DispatchRows plan,
                                                              int num_blocks,
                                                              const std::int32_t* block_counts) {
    const int pair = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    if (pair >= dispatch.num_tokens * dispatch.top_k)
        return;
    const std::int32_t id = dispatch.place_ids[pair];
    const std::int64_t place = id - dispatch.first_place;
    const std::int32_t row = plan.place_begin[place] +
                             block_counts[place * num_blocks + pair / kBlockPairs] +
                             plan.rows[pair];
    plan.rows[pair] = row;
    plan.source_rows[row] = pair / dispatch.top_k;
    if (plan.row_places != nullptr)
        plan.row_places[row] = id;
}

std::int64_t num_dispatch_pairs(const Backend::DispatchArguments& dispatch) {
    return static_cast<std::int64_t>(dispatch.num_tokens) * dispatch.top_k;
}

int num_dispatch_blocks(const Backend::DispatchArguments& dispatch) {
    return static_cast<int>(ceil_div(num_dispatch_pairs(dispatch), kBlockPairs));
}

}  // namespace

std::size_t dispatch_workspace_bytes(const Backend::DispatchArguments& dispatch) {
    return sizeof(std::int32_t) * dispatch.num_places * num_dispatch_blocks(dispatch);
}

void plan_dispatch(const Backend::DispatchArguments& dispatch,
                   const Backend::DispatchRows& plan,
                   void* workspace,
                   cudaStream_t stream) {
    const int num_places = dispatch.num_places;
    if (num_places > kMostPlaces)
        throw Error("dispatch: a GPU sorts at most " + std::to_string(kMostPlaces) +
                    " places of experts; use " + setting("backend") + " cpu");
    const int num_blocks = num_dispatch_blocks(dispatch);
    auto* const counts = static_cast<std::int32_t*>(workspace);
    if (num_blocks > 0)
        launch("count_pairs", count_pairs_kernel, dim3(static_cast<unsigned>(num_blocks)), kThreads,
               sizeof(std::uint16_t) * kWarps * num_places, stream, dispatch, counts, plan.rows);
    // places without rows begin and end somewhere too
    launch("add_blocks", add_blocks_kernel,
           dim3(static_cast<unsigned>(ceil_div(std::max(num_places, 1), kWarps))), kThreads, 0,
           stream, num_places, num_blocks, counts, plan.place_begin + 1);
    launch("add_places", add_places_kernel, dim3(1), kThreads, 0, stream, num_places,
           plan.place_begin);
    if (num_blocks > 0)
        launch("place_rows", place_rows_kernel,
               dim3(static_cast<unsigned>(ceil_div(num_dispatch_pairs(dispatch), kThreads))),
               kThreads, 0, stream, dispatch, plan, num_blocks, counts);
}

}  // namespace eplb::cuda
