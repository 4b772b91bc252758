#ifndef EPLB_COLLECT_RUN_COST_H
#define EPLB_COLLECT_RUN_COST_H

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "lib/collect/decoder.h"
#include "lib/model/cost.h"

namespace eplb {

// What a run through a checkpoint is given, to tell what it takes before it starts.
struct PlannedRun {
    const DecoderConfig* config = nullptr;
    Cost cost;
    std::vector<std::int64_t> sequence_lengths;
    int num_threads = 1;
    bool is_on_gpu = false;
    int num_devices = 1;
    double matrix_rate = 0;  // GFLOP/s of a large product, of all threads or of the GPU
    Decoder::Limits limits;
};

// What nobody measures before a run, and what a run reaches of the rate of a large matrix product
// (scripts/bench_checkpoint).
constexpr double kAssumedReadRate = 2;   // GB/s
constexpr double kAssumedCopyRate = 20;  // GB/s, to a GPU
constexpr double kAssumedGpuRate = 40;   // TFLOP/s of a GPU, fp32 products
constexpr double kReachedOfMatrixRate = 0.75;

struct RunCost {
    double compute_seconds = 0;
    double reading_seconds = 0;
    double copying_seconds = 0;  // to a GPU
    double weight_bytes = 0;     // of memory: two layers
    double hidden_bytes = 0;
    double buffer_bytes = 0;

    double seconds() const;  // reading and copying go on beside the computation
    double bytes() const { return weight_bytes + hidden_bytes + buffer_bytes; }
};

RunCost run_cost(const PlannedRun& run);

// The same run on a GPU of the assumed rate.
PlannedRun on_assumed_gpu(PlannedRun run);

// GFLOP/s of a large matrix product, on all threads or on the GPU.
double measure_matrix_rate(Backend& backend, int num_threads);

// Tokens under way at once, such that buffers stay around 3 GiB; no more than max_num_tokens over
// all devices, where that is not 0.
Decoder::Limits decoder_limits(const DecoderConfig& config, int max_num_tokens, int num_devices);

}  // namespace eplb

#endif
