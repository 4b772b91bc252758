#ifndef EPLB_TOOLS_REPORT_OPTIONS_H
#define EPLB_TOOLS_REPORT_OPTIONS_H

#include <optional>
#include <string>
#include <vector>

#include "lib/report/text/table_writers.h"
#include "lib/statistics/selection.h"
#include "tools/given_options.h"
#include "tools/statistics_options.h"
#include "tools/time_options.h"

namespace eplb {

struct ReportView;

struct SortOrder {
    std::string column;  // key or header
    bool is_reversed = false;
};

struct ReportOptions {
    std::vector<std::string> expert_statistic_paths;
    cli::StatisticsOptions statistics;
    std::vector<std::string> config_paths;
    int ep_size = 0;                   // 0: not given
    const ReportView* view = nullptr;  // null: what suits the inputs
    bool per_expert = false;
    bool equal_split = false;
    std::vector<int> layers;  // empty: all

    // the table
    std::optional<SortOrder> sort;  // else as it comes
    int top = 0;                    // 0: all rows
    std::optional<int> digits;
    TableFormat format = TableFormat::text;
    std::string output_path = "-";

    // pictures
    bool heatmap = false;
    std::string html_path;

    // views of their own
    std::optional<IterationRange> fit;   // of the first statistics
    std::optional<IterationRange> test;  // of the last
    int num_slots = 0;
    int num_nodes = 1;
    double bytes_per_token = 0;  // 0: count tokens
    double moe_share = 0.5;
    double tokens_per_second_per_rank = 0;
    double min_speedup = 1.02;

    cli::TimeOptions time;
    int tokens_per_rank = 0;       // of another batch; 0: as recorded
    std::string fit_time_profile;  // instead of a report; empty: not given

    // gates
    std::optional<double> max_imbalance;
    std::optional<double> max_time;  // us

    std::vector<cli::GivenOption> given;
};

void add_report_options(CLI::App& app, ReportOptions& options);

}  // namespace eplb

#endif
