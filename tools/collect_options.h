#ifndef EPLB_TOOLS_COLLECT_OPTIONS_H
#define EPLB_TOOLS_COLLECT_OPTIONS_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backends.h"
#include "lib/collect/schedule.h"
#include "lib/model/model_config.h"
#include "lib/placement/placement.h"
#include "lib/statistics/selection.h"
#include "tools/given_options.h"
#include "tools/output.h"
#include "tools/statistics_options.h"

namespace eplb::cli {

enum class BackendChoice { automatic, cpu, cuda };

// The command line of eplb-collect.
struct CollectOptions {
    std::string model;  // folder of a checkpoint; empty: a preset
    std::string preset = "deepseek-r1";
    int hidden_size = 0;  // 0, here and below: the preset's
    int intermediate_size = 0;
    int num_layers = 0;
    std::uint64_t seed = 0;
    std::string dataset;
    Segment segment = Segment::all;
    int ep_size = 0;
    int tokens_per_rank = 128;
    std::int64_t iterations = 0;
    int max_num_tokens = 0;
    std::string load_balancer;
    StatisticsOptions configs;  // how load_balancer is read
    std::string extra_llm_api_options;
    std::string expert_statistic_path;
    std::string iter_range;
    bool raw = false;
    bool check = false;
    bool plan = false;
    bool resume = false;
    std::string state;
    int num_threads = 0;
    BackendChoice backend = BackendChoice::automatic;
    ProductPrecision precision = ProductPrecision::fp32;
    int num_devices = 1;  // of this process
    // who this process is; none: what the launcher says
    std::optional<int> rank;
    std::optional<int> world_size;
    std::optional<int> local_rank;
    std::string master;
    int meeting_limit = 300;  // s
    int silence_limit = 60;   // s
    std::vector<GivenOption> given;
};

void add_options(CLI::App& app, CollectOptions& options);

// Throws a UsageError where options of checkpoints and of synthetic models meet.
void check_kind(const CollectOptions& options);

// What to record and where; no path: nothing.
struct Recording {
    std::string path;
    std::optional<IterationRange> range;  // none: the whole run
};

// From the flags and upstream's variables.
Recording resolve_recording(const CollectOptions& options);

// The load balancer config, of any engine, and the bound on tokens, from their files. model: the
// one that runs, with its MoE layers.
struct Balancing {
    std::optional<EplbConfig> config;
    int max_num_tokens = 0;  // 0: none
};
Balancing read_balancing(const Output& out,
                         const CollectOptions& options,
                         const MoeModelConfig& model,
                         int ep_size);

// Throws a UsageError where --raw has no folder to go to, or an iteration of ep_size ranks has more
// ids than can be counted.
void check_sizes(const CollectOptions& options, const Recording& recording, int ep_size, int top_k);

}  // namespace eplb::cli

#endif
