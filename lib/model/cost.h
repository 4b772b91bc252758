#ifndef EPLB_MODEL_COST_H
#define EPLB_MODEL_COST_H

#include <cstdint>
#include <span>

#include "lib/model/decoder_config.h"

namespace eplb {

// What running tokens through a decoder takes, computed from its config.json. Bytes and FLOPs are
// exact for a checkpoint as published (a multiplication and an addition are two); routers, norms
// and softmax, which are below a per cent, are left out of the FLOPs.
struct Cost {
    double read_bytes = 0;            // of what routing depends on
    double largest_layers_bytes = 0;  // of the two consecutive layers that are largest together

    double linear_flop = 0;     // projections of attention
    double attention_flop = 0;  // products of queries, keys and values, causal
    double expert_flop = 0;     // experts, shared experts and dense layers
    double flop() const { return linear_flop + attention_flop + expert_flop; }

    double num_tokens = 0;
    double hidden_bytes = 0;  // of the hidden states of all tokens
};

// All decoder layers and the table of embeddings.
struct CheckpointSize {
    double num_weights = 0;
    double num_bytes = 0;
};
CheckpointSize checkpoint_size(const DecoderConfig& config);

// Sequence lengths in tokens.
Cost plan_cost(const DecoderConfig& config, std::span<const std::int64_t> sequence_lengths);

}  // namespace eplb

#endif
