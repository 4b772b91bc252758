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

// What eplb-gen is asked for, as typed; lists are parsed by resolve().
struct GenOptions {
    std::vector<std::string> expert_statistic_paths;
    cli::StatisticsOptions statistics;
    std::string ep_size;    // a list with sweep
    std::string num_slots;  // likewise, and with max_imbalance
    std::string weights;
    std::string gpu_speeds;
    bool survive_rank_loss = false;
    std::string max_imbalance;  // empty: not given
    bool sweep = false;
    double bytes_per_expert = 0;
    std::string current;           // the config in force; empty: none
    std::optional<int> max_moves;  // slots of all layers
    int layer_updates_per_iter = 0;
    std::string fill_layers;
    std::string output_path;
    std::string report_path;
    TableFormat format = TableFormat::text;
    GenConfigOptions configs;
    std::vector<cli::GivenOption> given;
    std::vector<std::string> command_line;  // without the program's name

    PlanRequest request;  // the rest of it

    // made of the text above
    std::vector<int> ep_sizes;        // empty: not given
    std::vector<int> num_slots_list;  // likewise
    std::vector<double> weight_list;  // [expert_statistic_paths]
    std::vector<int> layers_to_fill;

    bool needs_cooccurrence() const {
        return request.algorithm == Algorithm::trtllm_cooccurrence || request.co_occurrence > 0;
    }
};

void add_gen_options(CLI::App& app, GenOptions& options);

// Parses the lists and refuses what cannot go together, with a UsageError.
void resolve(GenOptions& options);

}  // namespace eplb

#endif
