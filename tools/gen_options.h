#ifndef EPLB_TOOLS_GEN_OPTIONS_H
#define EPLB_TOOLS_GEN_OPTIONS_H

#include <optional>
#include <string>
#include <vector>

#include "lib/placement/plan/planner.h"
#include "lib/report/text/table_writers.h"
#include "tools/gen_configs.h"
#include "tools/given_options.h"
#include "tools/statistics_options.h"

namespace eplb {

// What eplb-gen is asked for; no list: not given.
struct GenOptions {
    std::vector<std::string> expert_statistic_paths;
    cli::StatisticsOptions statistics;
    std::vector<int> ep_size;     // several with sweep
    std::vector<int> num_slots;   // likewise, and with max_imbalance
    std::vector<double> weights;  // [expert_statistic_paths]
    std::optional<double> max_imbalance;
    bool sweep = false;
    double bytes_per_expert = 0;   // 0: not given
    std::string current;           // the config in force; empty: none
    std::optional<int> max_moves;  // slots of all layers
    int layer_updates_per_iter = 0;
    std::vector<int> fill_layers;
    std::string output_path;
    std::string report_path;
    TableFormat format = TableFormat::text;
    GenConfigOptions configs;
    PlanRequest request;  // but for ep_size and num_slots

    std::vector<cli::GivenOption> given;
    std::vector<std::string> command_line;  // without the program's name

    int one_ep_size() const { return ep_size.empty() ? 0 : ep_size.front(); }  // 0: not given
    bool needs_cooccurrence() const {
        return request.algorithm == Algorithm::trtllm_cooccurrence || request.co_occurrence > 0;
    }
};

void add_gen_options(CLI::App& app, GenOptions& options);

// UsageError for options that do not go together.
void check_gen_options(const GenOptions& options);

}  // namespace eplb

#endif
