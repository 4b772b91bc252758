#include "lib/collect/decoder.h"

#include <algorithm>

#include "lib/collect/stages.h"

namespace eplb {
namespace {

// of the norms inside latent attention, whatever the config says of the others
constexpr float kLatentEpsilon = 1e-6F;

const float* data_or_null(const std::vector<float>& values) {
    return values.empty() ? nullptr : values.data();
}

std::size_t product(std::int64_t a, std::int64_t b) {
    return static_cast<std::size_t>(a * b);
}

// How many chunks of about `limit` tokens; 1 where limit is 0 (no bound).
int num_chunks(std::int64_t num_tokens, int limit) {
    if (limit == 0 || num_tokens <= limit)
        return 1;
    return static_cast<int>((num_tokens + limit - 1) / limit);
}

}  // namespace

Decoder::Decoder(const DecoderConfig& config,
                 const Limits& limits,
                 Backend& backend,
                 Communicator* communicator)
    : config_(config),
      limits_(limits),
      backend_(backend),
      frequencies_(backend, {std::as_bytes(std::span(config.attention.rotary.frequencies))}),
      exchange_(config.moe.hidden_size, config.moe.router.top_k, backend, communicator),
      normalized_(backend),
      queries_(backend),
      keys_(backend),
      values_(backend),
      latent_(backend),
      attended_(backend),
      expert_ids_(backend),
      expert_weights_(backend),
      margins_(backend),
      dense_output_(backend),
      shared_gate_(backend) {}

void Decoder::check_stop() const {
    if (stop_ && stop_())
        throw Interrupted();
}

void Decoder::normalize(const std::vector<float>& weight,
                        int num_rows,
                        const float* input,
                        float* output) {
    const int size = static_cast<int>(weight.size());
    backend_.rms_norm({.weight = weight.data(),
                       .size = size,
                       .epsilon = config_.norm_epsilon,
                       .input_stride = size,
                       .output_stride = size},
                      num_rows, input, output);
}

void Decoder::rotate(
    int num_heads, int head_stride, int offset, std::int64_t row_stride, float* values) {
    const RotaryConfig& rotary = config_.attention.rotary;
    backend_.rotate({.frequencies = rotary.frequencies.data(),
                     .rotary_size = rotary.size,
                     .factor = rotary.factor,
                     .interleaved = rotary.interleaved,
                     .num_heads = num_heads,
                     .head_stride = head_stride,
                     .offset = offset,
                     .row_stride = row_stride},
                    positions_, values);
}

// queries_, keys_ and values_ from normalized_
void Decoder::project_grouped_query(const AttentionWeights& weights, int num_rows) {
    const AttentionConfig& attention = config_.attention;
    const auto project = [&](const WeightMatrix& weight, const std::vector<float>& bias,
                             DeviceBuffer<float>& output) {
        output.grow(product(num_rows, weight.num_rows));
        backend_.linear(weight, data_or_null(bias), num_rows, normalized_.data(), output.data(),
                        false);
    };
    project(weights.query, weights.query_bias, queries_);
    project(weights.key, weights.key_bias, keys_);
    project(weights.value, weights.value_bias, values_);

    const int query_width = weights.query.num_rows;
    const int key_width = weights.key.num_rows;
    if (attention.qk_norm != QkNorm::none) {
        // per head a head is a row of its own
        const auto normalize_heads = [&](const std::vector<float>& norm, int width,
                                         const DeviceBuffer<float>& heads) {
            const int rows_per_token = width / static_cast<int>(norm.size());
            normalize(norm, num_rows * rows_per_token, heads.data(), heads.data());
        };
        normalize_heads(weights.query_norm, query_width, queries_);
        normalize_heads(weights.key_norm, key_width, keys_);
    }
    if (attention.clip_qkv > 0) {
        backend_.clamp(attention.clip_qkv, std::int64_t{num_rows} * query_width, queries_.data());
        backend_.clamp(attention.clip_qkv, std::int64_t{num_rows} * key_width, keys_.data());
        backend_.clamp(attention.clip_qkv, std::int64_t{num_rows} * weights.value.num_rows,
                       values_.data());
    }
    rotate(attention.num_heads, attention.key_size, 0, query_width, queries_.data());
    rotate(attention.num_kv_heads, attention.key_size, 0, key_width, keys_.data());
}

// The same for latent attention. A head's keys are its own part of the expanded latent vector, then
// the rotated part that all heads share.
void Decoder::project_latent(const AttentionWeights& weights, int num_rows) {
    const AttentionConfig& attention = config_.attention;
    const int num_heads = attention.num_heads;
    const int rotary_size = attention.rotary.size;
    const int own_size = attention.key_size - rotary_size;
    const int query_width = num_heads * attention.key_size;
    queries_.grow(product(num_rows, query_width));
    if (attention.q_lora_rank == 0) {
        backend_.linear(weights.query, nullptr, num_rows, normalized_.data(), queries_.data(),
                        false);
    } else {
        latent_.grow(product(num_rows, attention.q_lora_rank));
        backend_.linear(weights.query_down, data_or_null(weights.query_down_bias), num_rows,
                        normalized_.data(), latent_.data(), false);
        backend_.rms_norm({.weight = weights.query_down_norm.data(),
                           .size = attention.q_lora_rank,
                           .epsilon = kLatentEpsilon,
                           .input_stride = attention.q_lora_rank,
                           .output_stride = attention.q_lora_rank},
                          num_rows, latent_.data(), latent_.data());
        backend_.linear(weights.query_up, nullptr, num_rows, latent_.data(), queries_.data(),
                        false);
    }
    rotate(num_heads, attention.key_size, own_size, query_width, queries_.data());

    const int latent_width = attention.kv_lora_rank + rotary_size;
    const int expanded_head = own_size + attention.value_size;
    const int expanded_width = num_heads * expanded_head;
    latent_.grow(product(num_rows, latent_width + attention.kv_lora_rank));
    float* const latent = latent_.data() + product(num_rows, attention.kv_lora_rank);
    backend_.linear(weights.latent_down, data_or_null(weights.latent_down_bias), num_rows,
                    normalized_.data(), latent, false);
    rotate(1, 0, attention.kv_lora_rank, latent_width, latent);
    backend_.rms_norm({.weight = weights.latent_norm.data(),
                       .size = attention.kv_lora_rank,
                       .epsilon = kLatentEpsilon,
                       .input_stride = latent_width,
                       .output_stride = attention.kv_lora_rank},
                      num_rows, latent, latent_.data());
    attended_.grow(product(num_rows, expanded_width));
    backend_.linear(weights.latent_up, nullptr, num_rows, latent_.data(), attended_.data(), false);

    keys_.grow(product(num_rows, query_width));
    values_.grow(product(num_rows, num_heads * attention.value_size));
    // heads, one row each
    const std::int64_t num_head_rows = std::int64_t{num_rows} * num_heads;
    backend_.copy_rows({.num_rows = num_head_rows,
                        .size = own_size,
                        .from_stride = expanded_head,
                        .to_stride = attention.key_size},
                       attended_.data(), keys_.data());
    backend_.copy_rows({.num_rows = num_head_rows,
                        .size = attention.value_size,
                        .from_stride = expanded_head,
                        .to_stride = attention.value_size},
                       attended_.data() + own_size, values_.data());
    backend_.copy_rows({.num_rows = num_rows,
                        .size = rotary_size,
                        .from_stride = latent_width,
                        .to_stride = query_width,
                        .num_copies = num_heads,
                        .copy_stride = attention.key_size},
                       latent + attention.kv_lora_rank, keys_.data() + own_size);
}

// Some rows become the keys or values of the piece's positions.
void Decoder::append(const DeviceBuffer<float>& rows,
                     std::int64_t first_row,
                     int width,
                     const SequencePiece& piece,
                     DeviceBuffer<float>& to) {
    const std::size_t num_kept = product(piece.first_position, width);
    const std::size_t needed = num_kept + product(piece.num_tokens, width);
    if (needed > to.capacity())
        to.extend(std::max(needed, 2 * to.capacity()), num_kept);
    backend_.copy_rows(
        {.num_rows = piece.num_tokens, .size = width, .from_stride = width, .to_stride = width},
        rows.data() + first_row * width, to.data() + num_kept);
}

void Decoder::attend_some(const AttentionWeights& weights,
                          int layer,
                          std::span<const SequencePiece> pieces,
                          KeyValueCache& cache,
                          float* hidden) {
    const AttentionConfig& attention = config_.attention;
    const int hidden_size = config_.moe.hidden_size;
    backend_.begin_stage(Stage::attention);
    positions_.clear();
    for (const SequencePiece& piece : pieces)
        for (std::int32_t i = 0; i < piece.num_tokens; ++i)
            positions_.push_back(piece.first_position + i);
    const int num_rows = static_cast<int>(positions_.size());
    float* const first_row = hidden + product(pieces.front().first_row, hidden_size);

    normalized_.grow(product(num_rows, hidden_size));
    normalize(weights.norm, num_rows, first_row, normalized_.data());
    if (config_.family->attention == AttentionKind::latent)
        project_latent(weights, num_rows);
    else
        project_grouped_query(weights, num_rows);

    const int key_width = attention.num_kv_heads * attention.key_size;
    const int value_width = attention.num_kv_heads * attention.value_size;
    const int query_width = attention.num_heads * attention.key_size;
    const int output_width = attention.num_heads * attention.value_size;
    attended_.grow(product(num_rows, output_width));
    std::vector<Backend::AttentionPiece> attention_pieces;
    std::int64_t row = 0;
    for (const SequencePiece& piece : pieces) {
        KeyValueCache::Sequence& sequence = cache.sequences[piece.sequence];
        append(keys_, row, key_width, piece, sequence.keys);
        append(values_, row, value_width, piece, sequence.values);
        row += piece.num_tokens;
    }
    // only now: a sequence may have several pieces here, and its buffers grow
    row = 0;
    for (const SequencePiece& piece : pieces) {
        const KeyValueCache::Sequence& sequence = cache.sequences[piece.sequence];
        attention_pieces.push_back({.first_position = piece.first_position,
                                    .num_queries = piece.num_tokens,
                                    .queries = queries_.data() + row * query_width,
                                    .keys = sequence.keys.data(),
                                    .values = sequence.values.data(),
                                    .output = attended_.data() + row * output_width});
        row += piece.num_tokens;
    }
    backend_.attention({.num_heads = attention.num_heads,
                        .num_kv_heads = attention.num_kv_heads,
                        .key_size = attention.key_size,
                        .value_size = attention.value_size,
                        .scale = attention.scale,
                        .sliding_window = attention.sliding_window[layer],
                        .sinks = data_or_null(weights.sinks)},
                       attention_pieces);
    backend_.linear(weights.output, data_or_null(weights.output_bias), num_rows, attended_.data(),
                    first_row, true);
}

void Decoder::attend(const AttentionWeights& weights,
                     int layer,
                     std::span<const SequencePiece> pieces,
                     KeyValueCache& cache,
                     bool keep_cache,
                     float* hidden) {
    // as many tokens at once as the limit allows; longer pieces are cut
    std::vector<SequencePiece> wave;
    std::int32_t num_tokens = 0;
    std::size_t num_dropped = 0;  // pieces whose sequence has left the cache
    const auto run = [&](std::size_t num_done) {
        check_stop();
        attend_some(weights, layer, wave, cache, hidden);
        wave.clear();
        num_tokens = 0;
        for (; !keep_cache && num_dropped < num_done; ++num_dropped)
            cache.sequences[pieces[num_dropped].sequence] = KeyValueCache::Sequence(backend_);
    };
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        SequencePiece rest = pieces[i];
        if (!keep_cache) {
            // the whole sequence is here: no growing by doubling
            KeyValueCache::Sequence& sequence = cache.sequences[rest.sequence];
            const AttentionConfig& attention = config_.attention;
            sequence.keys.grow(
                product(rest.num_tokens, attention.num_kv_heads * attention.key_size));
            sequence.values.grow(
                product(rest.num_tokens, attention.num_kv_heads * attention.value_size));
        }
        while (rest.num_tokens > 0) {
            SequencePiece part = rest;
            part.num_tokens = std::min(rest.num_tokens, limits_.attention_tokens - num_tokens);
            wave.push_back(part);
            num_tokens += part.num_tokens;
            rest.first_position += part.num_tokens;
            rest.first_row += part.num_tokens;
            rest.num_tokens -= part.num_tokens;
            if (num_tokens == limits_.attention_tokens)
                run(rest.num_tokens == 0 ? i + 1 : i);
        }
    }
    if (!wave.empty())
        run(pieces.size());
}

// body(first row, number of rows), as many rows at once as the limit allows, and as often on every
// device
template <typename Body>
void Decoder::for_chunks(int num_rows, int most_rows, const Body& body) {
    const int chunks = num_chunks(most_rows, limits_.expert_tokens);
    for (int chunk = 0; chunk < chunks; ++chunk) {
        check_stop();
        // the first num_rows % chunks have one row more
        const int size = num_rows / chunks;
        const int num_larger = num_rows % chunks;
        body(chunk * size + std::min(chunk, num_larger), size + (chunk < num_larger ? 1 : 0));
    }
}

// dense_output_ = MLP of normalized_
void Decoder::run_dense(const MlpWeights& mlp, int num_rows) {
    const std::int32_t begin[] = {0, num_rows};
    dense_output_.grow(product(num_rows, config_.moe.hidden_size));
    backend_.grouped_mlp({&mlp, 1}, begin, nullptr, normalized_.data(), dense_output_.data());
}

void Decoder::dense(const LayerWeights& weights, int num_rows, float* hidden) {
    const int hidden_size = config_.moe.hidden_size;
    for_chunks(num_rows, num_rows, [&](int first, int count) {
        backend_.begin_stage(Stage::experts);
        float* const rows = hidden + product(first, hidden_size);
        normalized_.grow(product(count, hidden_size));
        normalize(weights.router.norm, count, rows, normalized_.data());
        run_dense(weights.dense, count);
        backend_.combine(count,
                         {.top_k = 0,
                          .hidden_size = hidden_size,
                          .rows = nullptr,
                          .weights = nullptr,
                          .expert_output = nullptr,
                          .shared_output = dense_output_.data(),
                          .shared_gate = nullptr},
                         rows);
    });
}

void Decoder::route(const LayerWeights& weights, int num_rows, const float* hidden) {
    const RouterSpec& spec = config_.moe.router;
    const int hidden_size = config_.moe.hidden_size;
    const Backend::RouterArguments router = {.spec = &spec,
                                             .hidden_size = hidden_size,
                                             .norm = weights.router.norm.data(),
                                             .epsilon = config_.norm_epsilon,
                                             .weight = weights.router.weight.data(),
                                             .logit_bias = data_or_null(weights.logit_bias),
                                             .bias = data_or_null(weights.router.bias)};
    expert_ids_.grow(product(num_rows, spec.top_k));
    expert_weights_.grow(product(num_rows, spec.top_k));
    margins_.grow(product(num_rows, 1));
    backend_.begin_stage(Stage::route);
    for_chunks(num_rows, num_rows, [&](int first, int count) {
        normalized_.grow(product(count, hidden_size));
        const std::size_t first_id = product(first, spec.top_k);
        backend_.route(router, count, hidden + product(first, hidden_size),
                       {.normalized = normalized_.data(),
                        .expert_ids = expert_ids_.data() + first_id,
                        .weights = expert_weights_.data() + first_id,
                        .margins = margins_.data() + first});
    });
}

void Decoder::experts(const LayerWeights& weights,
                      const ExpertPlaces& places,
                      const std::int32_t* place_ids,
                      int num_rows,
                      int most_rows,
                      float* hidden) {
    const int top_k = config_.moe.router.top_k;
    const int hidden_size = config_.moe.hidden_size;
    for_chunks(num_rows, most_rows, [&](int first, int count) {
        float* const rows = hidden + product(first, hidden_size);
        if (count < num_rows) {  // else route() has left it there
            backend_.begin_stage(Stage::route);
            normalize(weights.router.norm, count, rows, normalized_.data());
        }
        const ExpertExchange::Outputs outputs = exchange_.run(
            count, places, place_ids + product(first, top_k), normalized_.data(), weights.experts);
        backend_.begin_stage(Stage::experts);
        const bool has_gate = weights.shared_gate.data != nullptr;
        if (weights.has_dense)
            run_dense(weights.dense, count);
        if (has_gate) {
            shared_gate_.grow(product(count, 1));
            backend_.linear(weights.shared_gate, nullptr, count, normalized_.data(),
                            shared_gate_.data(), false);
        }
        backend_.begin_stage(Stage::combine);
        backend_.combine(count,
                         {.top_k = top_k,
                          .hidden_size = hidden_size,
                          .rows = outputs.rows,
                          .weights = expert_weights_.data() + product(first, top_k),
                          .expert_output = outputs.values,
                          .shared_output = weights.has_dense ? dense_output_.data() : nullptr,
                          .shared_gate = has_gate ? shared_gate_.data() : nullptr},
                         rows);
    });
}

std::size_t Decoder::expert_buffer_bytes() const {
    return exchange_.buffer_bytes() + dense_output_.capacity() * sizeof(float);
}

}  // namespace eplb
