#include "tools/gen_summary.h"

#include <cmath>
#include <iostream>

#include "lib/base/text.h"
#include "lib/placement/plan/plan_summary.h"
#include "lib/report/text/table_writers.h"
#include "lib/report/views/plan_table.h"
#include "tools/terminal.h"

namespace eplb {
namespace {

// bounds above this are worth a word
constexpr double kForcedImbalance = 0.05;

// an interval that ends so many times above its start says nothing
constexpr double kWidestInterval = 5;

std::string rounded(double value) {
    return formatted("%.3f", value);
}

std::string layer_name(const GenSummary& summary, int layer) {
    return "layer " + std::to_string(summary.statistics.front().layers[layer]);
}

void print_heading(const GenSummary& summary) {
    const ExpertStatistics& first = summary.statistics.front();
    std::string line = counted(static_cast<int>(summary.plan.layers.size()), "layer") + ", " +
                       std::to_string(first.num_experts) + " experts in " +
                       std::to_string(summary.request.num_slots) + " slots on " +
                       std::to_string(summary.request.ep_size) + " ranks, fitted to ";
    if (summary.statistics.size() > 1)
        line += std::to_string(summary.statistics.size()) + " workloads";
    else
        line += "iterations " + std::to_string(first.iter_start) + "-" +
                std::to_string(first.iter_stop());
    summary.out.note(line);
}

std::string before_text(const GenSummary& summary) {
    const std::optional<ImbalanceBefore> before =
        imbalance_before(summary.statistics, summary.under, summary.request);
    const std::string subject = "average imbalance ratio ";
    if (!before)
        return subject;
    return subject + rounded(before->imbalance_ratio) +
           (before->ep_size == 0
                ? " as recorded, with the config in force; "
                : " with the experts in order on " + std::to_string(before->ep_size) + " ranks; ");
}

std::string percent_lower(double ratio) {
    const double percent = std::round(100 * (1 - ratio));
    if (percent == 0)
        return "the same";
    return formatted("%.0f %%", std::abs(percent)) + (percent > 0 ? " lower" : " higher");
}

std::string against_greedy(const GenSummary& summary, const Prediction& prediction) {
    if (summary.request.algorithm == Algorithm::greedy || !(prediction.baseline > 0))
        return "";
    std::string text =
        ", " + rounded(prediction.baseline) + " with greedy: " + percent_lower(prediction.ratio);
    if (summary.request.num_nodes > 1 || summary.request.min_replicas > 1)
        text += ", which heeds neither nodes nor lost ranks";
    if (prediction.ratio_high < kWidestInterval * prediction.ratio_low)
        text += " (95 % interval: " + percent_lower(prediction.ratio_high) + " to " +
                percent_lower(prediction.ratio_low) + ")";
    return text;
}

void print_prediction(const GenSummary& summary) {
    const Plan& plan = summary.plan;
    const std::string before = before_text(summary);
    const std::string fitted = rounded(mean_over_layers(plan, &LayerPlan::fitted));
    switch (plan.basis) {
        case PredictionBasis::none:
            summary.out.note(before + fitted +
                             " on the counts it was fitted to, which is no prediction: too few "
                             "iterations to hold some back; record 4 or more, or give several "
                             "workloads");
            return;
        case PredictionBasis::iterations:
            summary.out.note(before + "predicted on unseen iterations " +
                             rounded(plan.prediction.imbalance) +
                             against_greedy(summary, plan.prediction));
            break;
        case PredictionBasis::workloads:
            summary.out.note(before + "predicted on a workload not fitted to " +
                             rounded(plan.prediction.imbalance) +
                             against_greedy(summary, plan.prediction));
            break;
    }
    const double floor = mean_over_layers(plan, &LayerPlan::noise_floor);
    std::string line = "on the counts it was fitted to " + fitted + ", which is no prediction";
    if (!std::isnan(floor))
        line += "; if tokens chose independently, about " + rounded(floor) + " would be left";
    summary.out.note(line);
}

void print_choice(const GenSummary& summary) {
    const Plan& plan = summary.plan;
    if (std::isnan(plan.choice_ratio))
        return;
    const int num_layers = static_cast<int>(plan.layers.size());
    std::string line = "no layer is risk-aware, all go by the summed load";
    if (plan.num_searched_layers == num_layers)
        line = "all layers are risk-aware";
    else if (plan.num_searched_layers > 0)
        line = "risk-aware in " + std::to_string(plan.num_searched_layers) + " of " +
               std::to_string(num_layers) + " layers, by the summed load in the others";
    summary.out.note(line + ": held out, " + algorithm_name(plan.search) + " had " +
                     formatted("%.2f", plan.choice_ratio) + " times the imbalance");
}

void print_bound(const GenSummary& summary) {
    const Plan& plan = summary.plan;
    const BoundGap farthest = largest_bound_gap(plan);
    const double aggregated = mean_over_layers(plan, &LayerPlan::aggregated);
    const double bound = mean_over_layers(plan, &LayerPlan::bound);
    summary.out.note("summed load: " + formatted("%.5f", aggregated) + ", no placement is below " +
                     formatted("%.5f", bound) +
                     "; farthest from its bound: " + layer_name(summary, farthest.layer) + ", by " +
                     formatted("%.5f", farthest.gap));
    const int most = most_forced_layer(plan);
    if (plan.layers[most].bound <= kForcedImbalance)
        return;
    const int enough = plan.layers[most].slots_to_lift;
    summary.out.warn(std::to_string(summary.request.num_slots) + " slots force an imbalance: in " +
                     layer_name(summary, most) + " no placement is below " +
                     rounded(plan.layers[most].bound) + "; " +
                     (enough > 0
                          ? std::to_string(enough) + " slots would lift it"
                          : "no number of slots lifts it while experts keep to their nodes"));
}

void print_duplicates(const GenSummary& summary) {
    const int num_duplicates = num_duplicate_slots(summary.plan);
    summary.out.note(
        num_duplicates == 0
            ? "no rank holds an expert twice"
            : std::to_string(num_duplicates) + " of " +
                  std::to_string(summary.plan.layers.size() *
                                 static_cast<std::size_t>(summary.request.num_slots)) +
                  " slots are of little use: their rank holds the same expert in another "
                  "slot");
}

void print_workloads(const GenSummary& summary) {
    if (!summary.plan.has_unseen_workload)
        return;
    if (summary.plan.basis == PredictionBasis::iterations)
        summary.out.note("on a workload that nobody recorded, each left out once: " +
                         rounded(summary.plan.unseen_workload.imbalance) +
                         against_greedy(summary, summary.plan.unseen_workload));
    std::cerr << write_table(workload_table(summary.plan, summary.paths), TableFormat::text);
}

void warn_of_layers(const GenSummary& summary) {
    for (int i = 0; i < static_cast<int>(summary.plan.layers.size()); ++i)
        if (!summary.plan.layers[i].has_tokens)
            summary.out.warn(layer_name(summary, i) +
                             (summary.has_bounded_moves
                                  ? " has no tokens; it keeps its placement"
                                  : " has no tokens; its replicas are dealt out "
                                    "evenly"));
}

}  // namespace

void print_summary(const GenSummary& summary) {
    print_heading(summary);
    print_choice(summary);
    print_prediction(summary);
    print_bound(summary);
    print_duplicates(summary);
    print_workloads(summary);
    warn_of_layers(summary);
}

}  // namespace eplb
