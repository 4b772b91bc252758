#include "lib/report/views/plan_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lib/placement/plan/evaluation.h"

namespace eplb {
namespace {

// A column, and where its values are.
template <typename Row>
struct PlanFigure {
    const char* key;
    double Row::*value;
};

constexpr PlanFigure<LayerPlan> kLayerFigures[] = {
    {"bound", &LayerPlan::bound},
    {"aggregated", &LayerPlan::aggregated},
    {"noise_floor", &LayerPlan::noise_floor},
    {"fitted", &LayerPlan::fitted},
    {"predicted", &LayerPlan::predicted},
    {"predicted_greedy", &LayerPlan::predicted_greedy},
};

constexpr PlanFigure<WorkloadResult> kWorkloadFigures[] = {
    {"common", &WorkloadResult::common},
    {"alone", &WorkloadResult::alone},
    {"greedy_alone", &WorkloadResult::greedy_alone},
    {"left_out", &WorkloadResult::left_out},
    {"greedy_left_out", &WorkloadResult::greedy_left_out},
};

std::string header_of(const std::string& key) {
    std::string header = key;
    std::replace(header.begin(), header.end(), '_', '-');
    return header;
}

TableColumn plan_column(const std::string& key) {
    return {key, header_of(key)};
}

double mean_over_layers(const Plan& plan, std::size_t workload, double WorkloadResult::*figure) {
    std::vector<double> values;
    for (const LayerPlan& layer : plan.layers)
        if (!layer.workloads.empty())
            values.push_back(layer.workloads[workload].*figure);
    return mean_of(values);
}

}  // namespace

std::string algorithm_name(Algorithm algorithm) {
    switch (algorithm) {
        case Algorithm::automatic:
            return "auto";
        case Algorithm::aggregated:
            return "aggregated";
        case Algorithm::risk:
            return "risk";
        case Algorithm::samples:
            return "samples";
        case Algorithm::greedy:
            return "greedy";
        case Algorithm::deepseek:
            return "deepseek";
        case Algorithm::trtllm_cooccurrence:
            return "trtllm-cooccurrence";
    }
    return "";
}

Table plan_table(const Plan& plan, std::span<const int> layers) {
    Table table;
    table.title = "Placement, imbalance ratios:";
    table.columns = {plan_column("layer"), plan_column("algorithm")};
    table.average = {"average", ""};
    for (const LayerPlan& layer : plan.layers)
        table.rows.push_back({layers[table.rows.size()], algorithm_name(layer.algorithm)});
    for (const PlanFigure<LayerPlan>& figure : kLayerFigures) {
        const double mean = mean_over_layers(plan, figure.value);
        if (std::isnan(mean))
            continue;
        table.columns.push_back(plan_column(figure.key));
        table.average.emplace_back(mean);
        for (std::size_t i = 0; i < plan.layers.size(); ++i)
            table.rows[i].emplace_back(plan.layers[i].*figure.value);
    }
    return table;
}

Table workload_table(const Plan& plan, std::span<const std::string> names) {
    Table table;
    table.title = "Workloads, imbalance ratios (means over layers):";
    table.columns = {plan_column("workload")};
    for (const PlanFigure<WorkloadResult>& figure : kWorkloadFigures)
        table.columns.push_back(plan_column(figure.key));
    for (std::size_t w = 0; w < names.size(); ++w) {
        table.rows.push_back({names[w]});
        for (const PlanFigure<WorkloadResult>& figure : kWorkloadFigures)
            table.rows.back().emplace_back(mean_over_layers(plan, w, figure.value));
    }
    return table;
}

Table sweep_table(std::span<const SweepRow> rows, bool has_memory) {
    Table table;
    table.title = "Deployments, imbalance ratios (means over layers):";
    const auto is_predicted = [](const SweepRow& row) { return row.is_prediction; };
    table.context.emplace_back(
        "imbalance",
        std::string(std::all_of(rows.begin(), rows.end(), is_predicted) ? "predicted" : "fitted"));
    table.columns = {plan_column("ep_size"),        plan_column("num_slots"),
                     plan_column("slots_per_rank"), plan_column("unbalanced"),
                     plan_column("imbalance"),      plan_column("bound")};
    if (has_memory)
        table.columns.push_back({"gib_per_rank", "GiB-per-rank"});
    table.columns.push_back(plan_column("token_ratio"));
    table.columns.push_back(plan_column("best"));
    for (const SweepRow& row : rows) {
        std::vector<Cell> cells = {row.ep_size,    row.num_slots, row.num_slots / row.ep_size,
                                   row.unbalanced, row.imbalance, row.bound};
        if (has_memory)
            cells.emplace_back(row.bytes_per_rank / (1024.0 * 1024.0 * 1024.0));
        cells.emplace_back(row.token_ratio);
        cells.emplace_back(std::string(row.is_best ? "*" : ""));
        table.rows.push_back(std::move(cells));
    }
    return table;
}

}  // namespace eplb
