#ifndef EPLB_MODEL_SYNTHETIC_H
#define EPLB_MODEL_SYNTHETIC_H

#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/model/model_config.h"

namespace eplb {

// A model made of seeded random weights, whose routing is as uneven as a real model's. Every value
// is a function of (seed, layer, expert, position) alone, so that any part can be made anywhere.
//
// A hidden state has three parts. Coordinate 0 is common to all tokens: the router's weights on it
// are the experts' popularity. The next kNumTopics say which topic the token belongs to: experts
// specialise, and as the mix of topics drifts over the iterations, so does their load. The rest is
// noise that depends on the token and the two before it. The popularity's strength is chosen per
// layer such that the preset's imbalance comes out on a sample of tokens.
class SyntheticModel {
  public:
    static constexpr int kNumTopics = 8;
    static constexpr int kMinHiddenSize = 16;
    static constexpr float kNormEpsilon = 1e-6F;  // of the norm before the router

    SyntheticModel(const Preset& preset, std::uint64_t seed, ThreadPool& threads);

    const MoeModelConfig& config() const { return config_; }
    ExpertShape expert_shape() const { return {config_.hidden_size, config_.intermediate_size}; }
    ExpertShape shared_shape() const {
        return {config_.hidden_size, config_.shared_intermediate_size};
    }

    const RouterWeights& router(int layer) const { return routers_[layer]; }

    // Weights of a routed expert, or of the shared ones; layer is a position in config().layers.
    void make_expert(int layer, int expert, std::span<float> weights) const;
    void make_shared_expert(int layer, std::span<float> weights) const;

    // Hidden states of consecutive tokens, [token_ids.size()][hidden_size]. The first token has
    // nothing before it.
    void embed(std::span<const std::int32_t> token_ids, std::span<float> hidden) const;

    // Topic of a token id, in [0, kNumTopics).
    static int topic(std::int32_t token_id);

  private:
    RouterWeights make_router(int layer, double imbalance, int num_ranks) const;

    MoeModelConfig config_;
    std::uint64_t seed_;
    std::vector<RouterWeights> routers_;
};

// Endless token ids, as traffic brings them: Zipf-distributed words of topics whose mix drifts from
// iteration to iteration. A function of (seed, iteration, rank) alone.
class SyntheticTraffic {
  public:
    SyntheticTraffic(int vocab_size, std::uint64_t seed) : vocab_size_(vocab_size), seed_(seed) {}

    // Token ids of one rank in one iteration.
    void make_tokens(std::int64_t iteration, int rank, std::span<std::int32_t> token_ids) const;

  private:
    int vocab_size_;
    std::uint64_t seed_;
};

}  // namespace eplb

#endif
