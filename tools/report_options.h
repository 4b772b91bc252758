#ifndef EPLB_TOOLS_REPORT_OPTIONS_H
#define EPLB_TOOLS_REPORT_OPTIONS_H

#include <optional>
#include <string>
#include <vector>

#include "lib/report/text/table_writers.h"
#include "lib/statistics/selection.h"
#include "tools/given_options.h"
#include "tools/statistics_options.h"

namespace eplb {

enum class View {
    layers,        // a row per layer
    ranks,         // per rank
    experts,       // per layer and expert
    iterations,    // per iteration
    percentiles,   // over layers
    comparison,    // per layer, of several statistics or configs
    held_out,      // per layer, a placement where it was not fitted
    drift,         // per layer, from one recording to another
    traffic,       // per layer, ranks and nodes of a token
    rank_traffic,  // rank x rank
    faults,        // per rank, what is lost with it
    worth,         // per layer, estimated speed-up
};

// As --view names it.
std::string view_name(View view);

struct ReportOptions {
    std::vector<std::string> expert_statistic_paths;
    cli::StatisticsOptions statistics;
    std::vector<std::string> config_paths;
    int ep_size = 0;  // 0: not given
    std::optional<View> view;
    bool per_expert = false;
    bool equal_split = false;
    std::string layers;

    // the table
    std::string sort;  // a column's key; empty: as it comes
    int top = 0;       // 0: all rows
    std::optional<int> precision;
    TableFormat format = TableFormat::text;
    std::string output_path = "-";

    // pictures
    bool heatmap = false;
    std::string html_path;

    // views of their own
    std::string fit;   // iterations, of the first statistics
    std::string test;  // iterations, of the last
    int num_slots = 0;
    int num_nodes = 1;
    double bytes_per_token = 0;  // 0: count tokens
    double moe_share = 0.5;
    double tokens_per_second_per_rank = 0;
    double min_speedup = 1.02;

    std::optional<double> max_imbalance;  // the gate

    std::vector<cli::GivenOption> given;
};

void add_report_options(CLI::App& app, ReportOptions& options);

}  // namespace eplb

#endif
