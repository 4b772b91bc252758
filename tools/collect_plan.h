#ifndef EPLB_TOOLS_COLLECT_PLAN_H
#define EPLB_TOOLS_COLLECT_PLAN_H

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "lib/collect/decoder.h"
#include "lib/model/cost.h"

namespace eplb::cli {

// What a run through a checkpoint takes, before it starts.
struct Plan {
    const DecoderConfig* config = nullptr;
    CheckpointSize size;
    Cost cost;
    std::vector<std::int64_t> sequence_lengths;
    bool assumes_lengths = false;  // there was no dataset
    int num_threads = 1;
    double read_rate = 0;    // GB/s, assumed
    double matrix_rate = 0;  // GFLOP/s of all threads or of the GPU, measured
    double gpu_rate = 0;     // TFLOP/s of a GPU, assumed
    double copy_rate = 0;    // GB/s to a GPU, assumed
    bool is_gpu = false;     // the run's device; what is measured is measured there
    int num_devices = 1;
    Decoder::Limits limits;
    bool iteration_major = false;
};

std::string plan_text(const Plan& plan);  // for --plan, some lines
std::string plan_line(const Plan& plan);  // the same in one

// "3 h 20 min", "45 s"
std::string duration_text(double seconds);

// GFLOP/s of a large matrix product, on all threads or on the GPU.
double measure_matrix_rate(Backend& backend, int num_threads);

// Tokens under way at once, such that buffers stay around 3 GiB.
Decoder::Limits default_limits(const DecoderConfig& config);

}  // namespace eplb::cli

#endif
