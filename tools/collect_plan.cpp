#include "tools/collect_plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <span>
#include <vector>

#include "kernels/device_buffer.h"
#include "tools/terminal.h"

namespace eplb::cli {
namespace {

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

// what a thread decodes weights into, and a tile of an MLP
double bytes_per_thread(const DecoderConfig& config) {
    constexpr double kTileRows = 512;
    constexpr double kPanelWeights = 1 << 22;
    const double width = std::max(config.moe.intermediate_size, config.dense_intermediate_size);
    return 4 * (kTileRows * (config.moe.hidden_size + width) + kPanelWeights);
}

double expert_bytes_per_token(const DecoderConfig& config) {
    return 4.0 * config.moe.hidden_size * (config.moe.router.top_k + 3);
}

std::string size_text(double bytes) {
    return bytes < 1e9 ? formatted("%.1f MB", bytes * 1e-6) : formatted("%.1f GB", bytes * 1e-9);
}

std::string flop_text(double flop) {
    return flop < 1e15 ? formatted("%.2f TFLOP", flop * 1e-12)
                       : formatted("%.2f PFLOP", flop * 1e-15);
}

// What a run reaches of the rate of a large matrix product (scripts/bench_checkpoint).
constexpr double kReached = 0.75;

// What a GPU's products take beside their inputs and outputs.
constexpr double kGpuWorkspace = 1 << 30;

struct Estimate {
    double compute = 0;  // seconds
    double reading = 0;
    double copying = 0;  // to a GPU
    double weights = 0;  // bytes of memory
    double buffers = 0;

    // reading and copying go on beside the computation
    double total() const { return std::max({compute, reading, copying}); }
};

Estimate estimate(const Plan& plan) {
    const Cost& cost = plan.cost;
    Estimate estimate;
    estimate.compute = cost.flop() / (kReached * plan.matrix_rate * 1e9 * plan.num_devices);
    estimate.copying = plan.is_gpu ? cost.read_bytes / (plan.copy_rate * 1e9) : 0;
    estimate.reading = cost.read_bytes / (plan.read_rate * 1e9);
    estimate.weights = plan.iteration_major ? cost.read_bytes : cost.largest_layers_bytes;
    const double longest = static_cast<double>(
        *std::max_element(plan.sequence_lengths.begin(), plan.sequence_lengths.end()));
    const AttentionConfig& attention = plan.config->attention;
    const double cached =
        4.0 * attention.num_kv_heads * (attention.key_size + attention.value_size) *
        (plan.iteration_major ? cost.num_tokens * plan.config->num_needed_layers() : longest);
    estimate.buffers = attention_bytes_per_token(*plan.config) *
                           std::min<double>(plan.limits.attention_tokens, cost.num_tokens) +
                       cached +
                       expert_bytes_per_token(*plan.config) *
                           std::min<double>(plan.limits.expert_tokens, cost.num_tokens) +
                       (plan.is_gpu ? kGpuWorkspace
                                    : plan.num_threads * std::min(bytes_per_thread(*plan.config),
                                                                  estimate.weights));
    return estimate;
}

// The same run on a GPU whose rates are assumed.
Plan on_gpu(Plan plan) {
    plan.is_gpu = true;
    plan.matrix_rate = plan.gpu_rate * 1e3;
    return plan;
}

}  // namespace

std::string duration_text(double seconds) {
    const auto minutes = static_cast<std::int64_t>(std::llround(seconds / 60));
    if (seconds < 120)
        return formatted("%.0f s", seconds);
    if (minutes < 120)
        return std::to_string(minutes) + " min";
    if (minutes < 48 * 60)
        return std::to_string(minutes / 60) + " h " + std::to_string(minutes % 60) + " min";
    return formatted("%.1f days", static_cast<double>(minutes) / (24 * 60));
}

namespace {

// What the same run would take on a GPU.
std::string gpu_line(const Plan& plan) {
    const Plan gpu = on_gpu(plan);
    const Estimate needs = estimate(gpu);
    return "on a GPU: about " + duration_text(needs.total()) + " and " +
           size_text(needs.weights + plan.cost.hidden_bytes + needs.buffers) +
           " of its memory (computing " + duration_text(needs.compute) +
           formatted(" at %.0f TFLOP/s, ", kReached * plan.gpu_rate) + "copying weights " +
           duration_text(needs.copying) + formatted(" at %.0f GB/s, ", plan.copy_rate) +
           "reading them " + duration_text(needs.reading) + "; rates assumed)\n";
}

}  // namespace

std::string plan_text(const Plan& plan) {
    const DecoderConfig& config = *plan.config;
    const Cost& cost = plan.cost;
    const Estimate needs = estimate(plan);
    const auto share = [&](double flop) { return formatted("%.0f %%", 100 * flop / cost.flop()); };
    const std::int64_t longest =
        *std::max_element(plan.sequence_lengths.begin(), plan.sequence_lengths.end());
    return "model:    " + config.moe.name + ", " + std::to_string(config.num_layers) +
           " layers, experts in " + std::to_string(config.moe.num_layers()) + ": " +
           std::to_string(config.moe.router.num_experts) + ", top-" +
           std::to_string(config.moe.router.top_k) +
           formatted("; %.1f billion weights without the head, ", plan.size.num_weights * 1e-9) +
           size_text(plan.size.num_bytes) + "\n" +  //
           "tokens:   " + formatted("%.0f", cost.num_tokens) +
           (plan.assumes_lengths ? ", assumed without --dataset, in " : " in ") +
           std::to_string(plan.sequence_lengths.size()) + " sequences, the longest of " +
           std::to_string(longest) + "\n" +  //
           "reads:    " + size_text(cost.read_bytes) + "\n" +
           "computes: " + flop_text(cost.flop()) + " (experts " + share(cost.expert_flop) +
           ", projections " + share(cost.linear_flop) + ", attention " +
           share(cost.attention_flop) + ")\n" +  //
           "memory:   " + size_text(needs.weights + cost.hidden_bytes + needs.buffers) + " (" +
           size_text(needs.weights) +
           (plan.iteration_major ? " of weights, " : " of weights, two layers; ") +
           size_text(cost.hidden_bytes) + " of hidden states, " + size_text(needs.buffers) +
           " of buffers)\n" +  //
           "time:     about " + duration_text(needs.total()) + " (computing " +
           duration_text(needs.compute) +
           formatted(" at %.0f GFLOP/s, three quarters of a large product's rate here; reading ",
                     kReached * plan.matrix_rate) +
           duration_text(needs.reading) +
           formatted(" at %.1f GB/s, assumed)\n", plan.read_rate) +  //
           gpu_line(plan);
}

std::string plan_line(const Plan& plan) {
    const Estimate needs = estimate(plan);
    const MoeModelConfig& moe = plan.config->moe;
    return moe.name + ": " + std::to_string(moe.num_layers()) + " MoE layers, " +
           std::to_string(moe.router.num_experts) + " experts, top-" +
           std::to_string(moe.router.top_k) + formatted("; %.0f tokens, ", plan.cost.num_tokens) +
           size_text(plan.cost.read_bytes) + " to read, " + flop_text(plan.cost.flop()) + ", " +
           size_text(needs.weights + plan.cost.hidden_bytes + needs.buffers) +
           " of memory, about " + duration_text(needs.total());
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

Decoder::Limits default_limits(const DecoderConfig& config) {
    constexpr double kGiB = 1 << 30;
    const auto limit = [](double bytes, double bytes_per_token) {
        return static_cast<int>(std::clamp(bytes / bytes_per_token, 256.0, 65536.0));
    };
    // experts need many tokens at once, or decoding their weights takes longer than using them
    return {.attention_tokens = limit(kGiB, attention_bytes_per_token(config)),
            .expert_tokens = limit(2 * kGiB, expert_bytes_per_token(config))};
}

}  // namespace eplb::cli
