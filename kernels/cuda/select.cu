#include <limits>

#include "kernels/cuda/kernel_support.h"
#include "kernels/cuda/launch.h"
#include "lib/base/setting.h"
#include "lib/model/router_math.h"

// A token's choice of experts, one warp per token.
namespace eplb::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;

// Below every order that a score can have: experts that are not to be chosen, or not any more.
constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::min();

struct SelectArguments {
    RouterSpec spec;
    const float* logit_bias;
    const float* bias;
    int num_tokens;
    const float* logits;
    Backend::RoutedTokens routed;
};

// One token's experts, spread over a warp: lane l has the experts l + 32 i.
template <int kValues>
struct TokenExperts {
    std::int32_t order[kValues];  // selection_order() of what is ranked
    std::int32_t best;            // the largest of these
    int best_index;               // its place, the first one

    __device__ void find_best() {
        best = order[0];
        best_index = 0;
#pragma unroll
        for (int i = 1; i < kValues; ++i)
            if (order[i] > best) {
                best = order[i];
                best_index = i;
            }
    }

    // Takes the best expert out, of all lanes; the lowest one on a tie.
    __device__ int take_best(int lane, std::int32_t best_of_all) {
        const int mine =
            best == best_of_all ? lane + kWarpSize * best_index : std::numeric_limits<int>::max();
        const int expert = __reduce_min_sync(kAllLanes, mine);
        if (mine == expert) {
#pragma unroll
            for (int i = 0; i < kValues; ++i)
                if (i == best_index)
                    order[i] = kNone;
            find_best();
        }
        return expert;
    }
};

// body(i, group, inside): every place i and group that share experts; inside tells whether this
// lane's expert is in the group. Groups need not end where a warp's experts do.
template <int kValues, typename Body>
__device__ void for_group_parts(const RouterSpec& spec, int lane, const Body& body) {
    const int group_size = spec.num_experts / spec.num_groups;
    int group = 0;
    int group_begin = 0;
#pragma unroll
    for (int i = 0; i < kValues; ++i)
        while (group < spec.num_groups && group_begin < (i + 1) * kWarpSize) {
            const int offset = lane + i * kWarpSize - group_begin;
            body(i, group, offset >= 0 && offset < group_size);
            if (group_begin + group_size > (i + 1) * kWarpSize)
                break;  // it goes on at the next place
            ++group;
            group_begin += group_size;
        }
}

// Lane g: the score of group g.
template <int kValues>
__device__ float score_groups(const RouterSpec& spec,
                              int lane,
                              const TokenExperts<kValues>& experts) {
    std::int32_t first = kNone;
    std::int32_t second = kNone;
    for_group_parts<kValues>(spec, lane, [&](int i, int group, bool inside) {
        const std::int32_t order = inside ? experts.order[i] : kNone;
        const std::int32_t largest = __reduce_max_sync(kAllLanes, order);
        const unsigned with_largest = __ballot_sync(kAllLanes, order == largest ? 1 : 0);
        const bool is_first = lane == __ffs(static_cast<int>(with_largest)) - 1;
        const std::int32_t next = __reduce_max_sync(kAllLanes, is_first ? kNone : order);
        if (lane == group) {
            second = std::max(std::min(first, largest), std::max(second, next));
            first = std::max(first, largest);
        }
    });
    return group_score(spec, score_of_order(first), score_of_order(second));
}

// Leaves the experts of the best groups only. Returns by how much that was decided.
template <int kValues>
__device__ float keep_best_groups(const RouterSpec& spec,
                                  int lane,
                                  TokenExperts<kValues>& experts) {
    const float score = score_groups(spec, lane, experts);
    int ahead = 0;
    for (int group = 0; group < spec.num_groups; ++group)
        ahead += comes_before(__shfl_sync(kAllLanes, score, group), group, score, lane) ? 1 : 0;
    const bool is_group = lane < spec.num_groups;
    const bool is_kept = is_group && ahead < spec.top_groups;
    const unsigned kept = __ballot_sync(kAllLanes, is_kept ? 1 : 0);
    for_group_parts<kValues>(spec, lane, [&](int i, int group, bool inside) {
        if (inside && (kept >> group & 1U) == 0)
            experts.order[i] = kNone;
    });
    const std::int32_t order = selection_order(score);
    const std::int32_t worst_kept =
        __reduce_min_sync(kAllLanes, is_kept ? order : std::numeric_limits<std::int32_t>::max());
    const std::int32_t best_dropped =
        __reduce_max_sync(kAllLanes, is_group && !is_kept ? order : kNone);
    return score_of_order(worst_kept) - score_of_order(best_dropped);
}

// Lane j < top_k: the weight of chosen expert j, whose logit is `logit`.
template <int kValues>
__device__ float weigh(const RouterSpec& spec,
                       int lane,
                       float logit,
                       const float (&logits)[kValues]) {
    if (spec.score_function == ScoreFunction::softmax) {
        std::int32_t largest = kNone;
#pragma unroll
        for (int i = 0; i < kValues; ++i)
            if (lane + i * kWarpSize < spec.num_experts)
                largest = std::max(largest, selection_order(logits[i]));
        const float maximum = score_of_order(__reduce_max_sync(kAllLanes, largest));
        float sum = 0;
        if (spec.normalize) {
            const float exp = exp_f32(logit - maximum);
            for (int j = 0; j < spec.top_k; ++j)
                sum += __shfl_sync(kAllLanes, exp, j);
        } else {
#pragma unroll
            for (int i = 0; i < kValues; ++i)
                if (lane + i * kWarpSize < spec.num_experts)
                    sum += exp_f32(logits[i] - maximum);
            for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2)
                sum += __shfl_xor_sync(kAllLanes, sum, lanes);
        }
        return softmax_weight(spec, logit, maximum, sum);
    }
    const float score = selection_score(spec.score_function, logit);
    float sum = kNoScore;
    for (int j = 0; j < spec.top_k; ++j)
        sum += __shfl_sync(kAllLanes, score, j);
    return score * weight_factor(spec, sum);
}

template <int kValues>
__global__ void __launch_bounds__(kThreads, kValues <= 8 ? 3 : 1)
    select_kernel(SelectArguments arguments) {
    const RouterSpec& spec = arguments.spec;
    const Backend::RoutedTokens& routed = arguments.routed;
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarpSize;
    const int token = static_cast<int>(blockIdx.x) * kWarps + thread / kWarpSize;
    if (token >= arguments.num_tokens)
        return;

    const float* const row = arguments.logits + static_cast<std::int64_t>(token) * spec.num_experts;
    float logits[kValues];
    TokenExperts<kValues> experts;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
        const int e = lane + i * kWarpSize;
        if (e >= spec.num_experts) {
            experts.order[i] = kNone;
            continue;
        }
        logits[i] = row[e];
        if (arguments.logit_bias != nullptr)
            logits[i] += arguments.logit_bias[e];
        float choice = selection_score(spec.score_function, logits[i]);
        if (spec.has_bias)
            choice += arguments.bias[e];
        experts.order[i] = std::max(selection_order(choice), kNone + 1);
    }
    float margin = std::numeric_limits<float>::infinity();
    if (spec.num_groups > spec.top_groups)
        margin = keep_best_groups(spec, lane, experts);

    experts.find_best();
    std::int32_t last = kNone;  // the order of the one chosen last
    int chosen = 0;             // lane j: expert j
    for (int j = 0; j < spec.top_k; ++j) {
        last = __reduce_max_sync(kAllLanes, experts.best);
        const int expert = experts.take_best(lane, last);
        chosen = lane == j ? expert : chosen;
    }
    if (routed.margins != nullptr) {
        const std::int32_t next = __reduce_max_sync(kAllLanes, experts.best);
        if (next != kNone)
            margin = std::min(margin, score_of_order(last) - score_of_order(next));
        if (lane == 0)
            routed.margins[token] = margin;
    }

    float logit = row[chosen];
    if (arguments.logit_bias != nullptr)
        logit += arguments.logit_bias[chosen];
    const float weight = weigh(spec, lane, logit, logits);
    if (lane < spec.top_k) {
        const std::int64_t i = static_cast<std::int64_t>(token) * spec.top_k + lane;
        routed.expert_ids[i] = chosen;
        routed.weights[i] = weight;
    }
}

}  // namespace

void select(const RouterSpec& spec,
            const float* logit_bias,
            const float* bias,
            int num_tokens,
            const float* logits,
            const Backend::RoutedTokens& routed,
            cudaStream_t stream) {
    if (spec.num_experts > kMostExperts || spec.top_k > kMostTopK || spec.num_groups > kMostGroups)
        throw Error("router: a GPU selects at most " + std::to_string(kMostTopK) + " of " +
                    std::to_string(kMostExperts) + " experts in " + std::to_string(kMostGroups) +
                    " groups; use " + setting("backend") + " cpu");
    if (num_tokens == 0)
        return;
    const SelectArguments arguments = {spec, logit_bias, bias, num_tokens, logits, routed};
    const auto with = [&](auto kernel) {
        launch("select", kernel, dim3(static_cast<unsigned>(ceil_div(num_tokens, kWarps))),
               kThreads, 0, stream, arguments);
    };
    const auto values = ceil_div(spec.num_experts, kWarpSize);
    if (values <= 2)
        with(select_kernel<2>);
    else if (values <= 4)
        with(select_kernel<4>);
    else if (values <= 8)
        with(select_kernel<8>);
    else if (values <= 16)
        with(select_kernel<16>);
    else
        with(select_kernel<32>);
}

}  // namespace eplb::cuda
