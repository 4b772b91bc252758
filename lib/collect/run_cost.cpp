#include "lib/collect/run_cost.h"

#include <algorithm>
#include <chrono>
#include <span>

#include "kernels/device_buffer.h"

namespace eplb {
namespace {

// What a GPU's products take beside their inputs and outputs.
constexpr double kGpuWorkspace = 1 << 30;

double attention_bytes_per_token(const DecoderConfig& config) {
    const AttentionConfig& attention = config.attention;
    const double queries = static_cast<double>(attention.num_heads) * attention.key_size;
    const double output = static_cast<double>(attention.num_heads) * attention.value_size;
    const double cached =
        static_cast<double>(attention.num_kv_heads) * (attention.key_size + attention.value_size);
    // latent attention: the compressed vectors, and keys and values before they are put together
    const double latent = attention.q_lora_rank + 2.0 * attention.kv_lora_rank +
                          (attention.kv_lora_rank > 0 ? cached / 2 : 0);
    return 4 * (config.moe.hidden_size + queries + output + 2 * cached + latent);
}

// What a thread decodes weights into, and a tile of an MLP.
double bytes_per_thread(const DecoderConfig& config) {
    constexpr double kTileRows = 512;
    constexpr double kPanelWeights = 1 << 22;
    const double width = std::max(config.moe.intermediate_size, config.dense_intermediate_size);
    return 4 * (kTileRows * (config.moe.hidden_size + width) + kPanelWeights);
}

double expert_bytes_per_token(const DecoderConfig& config) {
    return 4.0 * config.moe.hidden_size * (config.moe.router.top_k + 3);
}

}  // namespace

double RunCost::seconds() const {
    return std::max({compute_seconds, reading_seconds, copying_seconds});
}

RunCost run_cost(const PlannedRun& run) {
    const Cost& cost = run.cost;
    const DecoderConfig& config = *run.config;
    RunCost needs;
    needs.compute_seconds =
        cost.flop() / (kReachedOfMatrixRate * run.matrix_rate * 1e9 * run.num_devices);
    needs.copying_seconds = run.is_on_gpu ? cost.read_bytes / (kAssumedCopyRate * 1e9) : 0;
    needs.reading_seconds = cost.read_bytes / (kAssumedReadRate * 1e9);
    needs.weight_bytes = cost.largest_layers_bytes;
    needs.hidden_bytes = cost.hidden_bytes;
    const double longest = static_cast<double>(
        *std::max_element(run.sequence_lengths.begin(), run.sequence_lengths.end()));
    const AttentionConfig& attention = config.attention;
    const double cached =
        4.0 * attention.num_kv_heads * (attention.key_size + attention.value_size) * longest;
    needs.buffer_bytes =
        attention_bytes_per_token(config) *
            std::min<double>(run.limits.attention_tokens, cost.num_tokens) +
        cached +
        expert_bytes_per_token(config) *
            std::min<double>(run.limits.expert_tokens, cost.num_tokens) +
        (run.is_on_gpu ? kGpuWorkspace
                       : run.num_threads * std::min(bytes_per_thread(config), needs.weight_bytes));
    return needs;
}

PlannedRun on_assumed_gpu(PlannedRun run) {
    run.is_on_gpu = true;
    run.matrix_rate = kAssumedGpuRate * 1e3;
    return run;
}

double measure_matrix_rate(Backend& backend, int num_threads) {
    constexpr int kSize = 1024;
    const int num_tokens = 512 * num_threads;
    const auto size = static_cast<std::size_t>(kSize);
    const std::vector<float> values(static_cast<std::size_t>(std::max(num_tokens, kSize)) * size,
                                    0.5F);
    DeviceBuffer<float> weights(backend);
    weights.upload(std::span(values).first(size * size));
    DeviceBuffer<float> input(backend);
    input.upload(std::span(values).first(static_cast<std::size_t>(num_tokens) * size));
    DeviceBuffer<float> output(backend);
    output.grow(static_cast<std::size_t>(num_tokens) * size);
    const WeightMatrix matrix = {.type = WeightType::f32,
                                 .num_rows = kSize,
                                 .num_columns = kSize,
                                 .data = reinterpret_cast<const std::byte*>(weights.data())};
    double best = 1e9;
    for (int i = 0; i < 3; ++i) {
        backend.synchronize();
        const auto start = std::chrono::steady_clock::now();
        backend.linear(matrix, nullptr, num_tokens, input.data(), output.data(), false);
        backend.synchronize();
        best = std::min(
            best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return 2.0 * kSize * kSize * num_tokens / best * 1e-9;
}

Decoder::Limits decoder_limits(const DecoderConfig& config, int max_num_tokens, int num_devices) {
    constexpr double kGiB = 1 << 30;
    const int most = max_num_tokens == 0 ? 65536 : std::max(1, max_num_tokens / num_devices);
    const auto limit = [&](double bytes, double bytes_per_token) {
        return std::min(most,
                        static_cast<int>(std::clamp(bytes / bytes_per_token, 256.0, 65536.0)));
    };
    // experts need many tokens at once, or decoding their weights takes longer than using them
    return {.attention_tokens = limit(kGiB, attention_bytes_per_token(config)),
            .expert_tokens = limit(2 * kGiB, expert_bytes_per_token(config))};
}

}  // namespace eplb
