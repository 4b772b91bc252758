#include "tools/collect_plan.h"

#include <algorithm>
#include <cmath>

#include "lib/base/text.h"
#include "tools/terminal.h"

namespace eplb::cli {
namespace {

std::string size_text(double bytes) {
    return bytes < 1e9 ? formatted("%.1f MB", bytes * 1e-6) : formatted("%.1f GB", bytes * 1e-9);
}

std::string flop_text(double flop) {
    return flop < 1e15 ? formatted("%.2f TFLOP", flop * 1e-12)
                       : formatted("%.2f PFLOP", flop * 1e-15);
}

// What the same run would take on a GPU.
std::string gpu_line(const PlannedRun& run) {
    const RunCost needs = run_cost(on_assumed_gpu(run));
    return "on a GPU: about " + duration_text(needs.seconds()) + " and " +
           size_text(needs.bytes()) + " of its memory (computing " +
           duration_text(needs.compute_seconds) +
           formatted(" at %.0f TFLOP/s, ", kReachedOfMatrixRate * kAssumedGpuRate) +
           "copying weights " + duration_text(needs.copying_seconds) +
           formatted(" at %.0f GB/s, ", kAssumedCopyRate) + "reading them " +
           duration_text(needs.reading_seconds) + "; rates assumed)\n";
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

std::string plan_text(const PlannedRun& run, const CheckpointSize& size, bool has_dataset) {
    const DecoderConfig& config = *run.config;
    const Cost& cost = run.cost;
    const RunCost needs = run_cost(run);
    const auto share = [&](double flop) { return formatted("%.0f %%", 100 * flop / cost.flop()); };
    const std::int64_t longest =
        *std::max_element(run.sequence_lengths.begin(), run.sequence_lengths.end());
    return "model:    " + config.moe.name + ", " + std::to_string(config.num_layers) +
           " layers, experts in " + std::to_string(config.moe.num_layers()) + ": " +
           std::to_string(config.moe.router.num_experts) + ", top-" +
           std::to_string(config.moe.router.top_k) +
           formatted("; %.1f billion weights without the head, ", size.num_weights * 1e-9) +
           size_text(size.num_bytes) + "\n" +  //
           "tokens:   " + formatted("%.0f", cost.num_tokens) +
           (has_dataset ? " in " : ", assumed without --dataset, in ") +
           std::to_string(run.sequence_lengths.size()) + " sequences, the longest of " +
           std::to_string(longest) + "\n" +  //
           "reads:    " + size_text(cost.read_bytes) + "\n" +
           "computes: " + flop_text(cost.flop()) + " (experts " + share(cost.expert_flop) +
           ", projections " + share(cost.linear_flop) + ", attention " +
           share(cost.attention_flop) + ")\n" +  //
           "memory:   " + size_text(needs.bytes()) + " (" + size_text(needs.weight_bytes) +
           " of weights, two layers; " + size_text(needs.hidden_bytes) + " of hidden states, " +
           size_text(needs.buffer_bytes) + " of buffers)\n" +  //
           "time:     about " + duration_text(needs.seconds()) + " (computing " +
           duration_text(needs.compute_seconds) +
           formatted(" at %.0f GFLOP/s, three quarters of a large product's rate here; reading ",
                     kReachedOfMatrixRate * run.matrix_rate) +
           duration_text(needs.reading_seconds) +
           formatted(" at %.1f GB/s, assumed)\n", kAssumedReadRate) +  //
           gpu_line(run);
}

std::string plan_line(const PlannedRun& run) {
    const RunCost needs = run_cost(run);
    const MoeModelConfig& moe = run.config->moe;
    return moe.name + ": " + std::to_string(moe.num_layers()) + " MoE layers, " +
           std::to_string(moe.router.num_experts) + " experts, top-" +
           std::to_string(moe.router.top_k) + formatted("; %.0f tokens, ", run.cost.num_tokens) +
           size_text(run.cost.read_bytes) + " to read, " + flop_text(run.cost.flop()) + ", " +
           size_text(needs.bytes()) + " of memory, about " + duration_text(needs.seconds());
}

}  // namespace eplb::cli
