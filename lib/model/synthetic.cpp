#include "lib/model/synthetic.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <numbers>

#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/model/select_experts.h"

namespace eplb {
namespace {

// what a random stream is for; part of its key
enum Stream : std::uint64_t {
    kTokenNoise,
    kContextNoise,
    kPopularity,
    kTopicAffinity,
    kRouterNoise,
    kRouterBias,
    kExpert,
    kSharedExpert,
    kSkew,
    kSample,
    kTraffic,
    kTrafficPhase,
};

// shares of a hidden state's squared norm
constexpr double kCommonShare = 0.25;
constexpr double kTopicShare = 0.15;
constexpr double kNoiseShare = 1.0 - kCommonShare - kTopicShare;

constexpr float kTopicStrength = 0.35F;   // of a logit, where a token's noise has 1
constexpr float kBiasStrength = 0.02F;    // of e_score_correction_bias
constexpr float kOutputStrength = 0.05F;  // expert outputs stay small beside the residual stream
constexpr int kFirstNoise = 1 + SyntheticModel::kNumTopics;

float share_scale(double share, int hidden_size) {
    return static_cast<float>(std::sqrt(share * hidden_size));
}

// max / mean - 1 of contiguous experts on num_ranks ranks, for tokens with the given logits
double sample_imbalance(const RouterSpec& spec,
                        const std::vector<float>& logits,
                        const std::vector<float>& bias,
                        int num_ranks) {
    const auto num_experts = static_cast<std::size_t>(spec.num_experts);
    SelectionScratch scratch(spec);
    std::vector<std::int32_t> expert_ids(spec.top_k);
    std::vector<float> weights(expert_ids.size());
    std::vector<int> rank_counts(num_ranks);
    const int experts_per_rank = spec.num_experts / num_ranks;
    for (std::size_t first = 0; first < logits.size(); first += num_experts) {
        select_experts(spec, logits.data() + first, bias.data(), scratch, expert_ids.data(),
                       weights.data());
        for (const std::int32_t e : expert_ids)
            ++rank_counts[e / experts_per_rank];
    }
    const std::size_t num_tokens = logits.size() / num_experts;
    const double total = static_cast<double>(num_tokens) * spec.top_k;
    return *std::max_element(rank_counts.begin(), rank_counts.end()) * num_ranks / total - 1;
}

double layer_skew(const Preset& preset, std::uint64_t seed, int layer) {
    if (layer < 3)
        return preset.skew_first;
    return preset.skew_low +
           (preset.skew_high - preset.skew_low) *
               uniform_at(combine_keys(seed, kSkew), static_cast<unsigned>(layer));
}

void fill_normal(std::span<float> values, std::uint64_t key, float scale) {
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = scale * normal_at(key, i);
}

// Values are drawn input by input: rows of [hidden_size][gate and up], then of
// [intermediate_size][hidden_size], each stored transposed.
void fill_expert(std::span<float> weights, const ExpertShape& shape, std::uint64_t key) {
    assert(weights.size() == shape.num_weights());
    const auto hidden = static_cast<std::size_t>(shape.hidden_size);
    const auto width = static_cast<std::size_t>(shape.intermediate_size);
    const auto fill_transposed = [](std::span<float> matrix, std::size_t num_inputs,
                                    std::uint64_t of_matrix, float scale) {
        const std::size_t num_outputs = matrix.empty() ? 0 : matrix.size() / num_inputs;
        for (std::size_t output = 0; output < num_outputs; ++output)
            for (std::size_t input = 0; input < num_inputs; ++input)
                matrix[output * num_inputs + input] =
                    scale * normal_at(of_matrix, input * num_outputs + output);
    };
    fill_transposed(weights.first(2 * width * hidden), hidden, combine_keys(key, 0),
                    1.0F / std::sqrt(static_cast<float>(shape.hidden_size)));
    fill_transposed(weights.subspan(2 * width * hidden), width, combine_keys(key, 1),
                    kOutputStrength / std::sqrt(static_cast<float>(shape.intermediate_size)));
}

}  // namespace

SyntheticModel::SyntheticModel(const Preset& preset, std::uint64_t seed, ThreadPool& threads)
    : config_(preset.model), seed_(seed), routers_(preset.model.layers.size()) {
    if (config_.hidden_size < kMinHiddenSize)
        throw Error("hidden_size " + std::to_string(config_.hidden_size) +
                    " is too small for a synthetic model; it must be at least " +
                    std::to_string(kMinHiddenSize));
    threads.for_each(config_.num_layers(), [&](std::int64_t layer) {
        routers_[layer] =
            make_router(static_cast<int>(layer), layer_skew(preset, seed, static_cast<int>(layer)),
                        preset.skew_ranks);
    });
}

int SyntheticModel::topic(std::int32_t token_id) {
    return token_id % kNumTopics;
}

void SyntheticModel::embed(std::span<const std::int32_t> token_ids, std::span<float> hidden) const {
    const auto hidden_size = static_cast<std::size_t>(config_.hidden_size);
    assert(hidden.size() == token_ids.size() * hidden_size);
    const float noise = share_scale(kNoiseShare, config_.hidden_size) /
                        std::sqrt(static_cast<float>(config_.hidden_size - kFirstNoise));
    for (std::size_t t = 0; t < token_ids.size(); ++t) {
        const std::span<float> state = hidden.subspan(t * hidden_size, hidden_size);
        const auto before = [&](std::size_t n) { return t >= n ? token_ids[t - n] : -1; };
        const std::uint64_t token_key = combine_keys(seed_, kTokenNoise, token_ids[t]);
        const std::uint64_t context_key =
            combine_keys(seed_, kContextNoise, token_ids[t], before(1), before(2));
        std::fill_n(state.begin(), kFirstNoise, 0.0F);
        state[0] = share_scale(kCommonShare, config_.hidden_size);
        state[1 + static_cast<std::size_t>(topic(token_ids[t]))] =
            share_scale(kTopicShare, config_.hidden_size);
        for (std::size_t i = kFirstNoise; i < hidden_size; ++i)
            state[i] = noise * (0.6F * normal_at(token_key, i) + 0.8F * normal_at(context_key, i));
    }
}

RouterWeights SyntheticModel::make_router(int layer, double imbalance, int num_ranks) const {
    const RouterSpec& spec = config_.router;
    const auto num_experts = static_cast<std::size_t>(spec.num_experts);
    const auto hidden_size = static_cast<std::size_t>(config_.hidden_size);
    const auto key = [&](Stream stream, std::size_t expert = 0) {
        return combine_keys(seed_, stream, layer, expert);
    };

    RouterWeights router;
    router.norm.assign(hidden_size, 1.0F);
    router.weight.resize(num_experts * hidden_size);
    for (std::size_t e = 0; e < num_experts; ++e) {
        const std::span<float> row = std::span(router.weight).subspan(e * hidden_size, hidden_size);
        fill_normal(row.subspan(1, kNumTopics), key(kTopicAffinity, e),
                    kTopicStrength / share_scale(kTopicShare, config_.hidden_size));
        fill_normal(row.subspan(kFirstNoise), key(kRouterNoise, e),
                    1.0F / share_scale(kNoiseShare, config_.hidden_size));
    }
    if (spec.has_bias) {
        router.bias.resize(num_experts);
        fill_normal(router.bias, key(kRouterBias), kBiasStrength);
    }

    // a sample's logits without popularity; the hidden states have (nearly) norm sqrt(hidden_size)
    // already, as after the RMSNorm
    constexpr std::size_t kNumSamples = 2048;
    std::vector<std::int32_t> token_ids(kNumSamples);
    for (std::size_t i = 0; i < kNumSamples; ++i)
        token_ids[i] = static_cast<std::int32_t>(uniform_at(combine_keys(seed_, kSample), i) *
                                                 static_cast<float>(config_.vocab_size));
    std::vector<float> hidden(kNumSamples * hidden_size);
    embed(token_ids, hidden);
    std::vector<float> transposed(router.weight.size());  // [hidden_size][num_experts]
    for (std::size_t e = 0; e < num_experts; ++e)
        for (std::size_t i = 0; i < hidden_size; ++i)
            transposed[i * num_experts + e] = router.weight[e * hidden_size + i];
    std::vector<float> base(kNumSamples * num_experts);
    for (std::size_t t = 0; t < kNumSamples; ++t)
        for (std::size_t i = 0; i < hidden_size; ++i)
            for (std::size_t e = 0; e < num_experts; ++e)
                base[t * num_experts + e] +=
                    hidden[t * hidden_size + i] * transposed[i * num_experts + e];
    std::vector<float> popularity(num_experts);
    fill_normal(popularity, key(kPopularity), 1.0F);

    // imbalance grows with the strength of popularity
    std::vector<float> logits(base.size());
    float low = 0;
    float high = 4;
    for (int step = 0; step < 10; ++step) {
        const float strength = (low + high) / 2;
        for (std::size_t i = 0; i < base.size(); ++i)
            logits[i] = base[i] + strength * popularity[i % num_experts];
        (sample_imbalance(spec, logits, router.bias, num_ranks) < imbalance ? low : high) =
            strength;
    }
    for (std::size_t e = 0; e < num_experts; ++e)
        router.weight[e * hidden_size] =
            low * popularity[e] / share_scale(kCommonShare, config_.hidden_size);
    return router;
}

void SyntheticModel::make_expert(int layer, int expert, std::span<float> weights) const {
    fill_expert(weights, expert_shape(), combine_keys(seed_, kExpert, layer, expert));
}

void SyntheticModel::make_shared_expert(int layer, std::span<float> weights) const {
    fill_expert(weights, shared_shape(), combine_keys(seed_, kSharedExpert, layer));
}

void SyntheticTraffic::make_tokens(std::int64_t iteration,
                                   int rank,
                                   std::span<std::int32_t> token_ids) const {
    // the share of each topic drifts along three waves of 20 to 200 iterations
    constexpr int kNumWaves = 3;
    std::array<double, SyntheticModel::kNumTopics> cumulative_share = {};
    double total = 0;
    for (int topic = 0; topic < SyntheticModel::kNumTopics; ++topic) {
        double level = 0;
        for (int wave = 0; wave < kNumWaves; ++wave) {
            const std::uint64_t key = combine_keys(seed_, kTrafficPhase, topic, wave);
            const double period = 20 * std::pow(10.0, uniform_at(key, 0));
            level += std::sin(2 * std::numbers::pi *
                              (static_cast<double>(iteration) / period + uniform_at(key, 1)));
        }
        total += std::exp(0.5 * level);
        cumulative_share[topic] = total;
    }

    const std::uint64_t key = combine_keys(seed_, kTraffic, iteration, rank);
    const int words_per_topic = std::max(1, vocab_size_ / SyntheticModel::kNumTopics);
    const auto log_words = static_cast<float>(std::log(words_per_topic));
    for (std::size_t i = 0; i < token_ids.size(); ++i) {
        const double at = uniform_at(key, 2 * i) * total;
        const auto topic =
            std::upper_bound(cumulative_share.begin(), cumulative_share.end() - 1, at) -
            cumulative_share.begin();
        // log-uniform word ranks: Zipf's law with exponent 1
        const int word = static_cast<int>(exp_f32(uniform_at(key, 2 * i + 1) * log_words)) - 1;
        const int token_id = std::min(word, words_per_topic - 1) * SyntheticModel::kNumTopics +
                             static_cast<int>(topic);
        token_ids[i] = std::min(token_id, vocab_size_ - 1);
    }
}

}  // namespace eplb
