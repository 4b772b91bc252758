#include "lib/placement/plan/update_summary.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "lib/placement/plan/evaluation.h"

namespace eplb {
namespace {

int position_of_most(std::span<const int> counts) {
    return static_cast<int>(std::max_element(counts.begin(), counts.end()) - counts.begin());
}

}  // namespace

bool UpdateSummary::is_worth_it() const {
    return gain && std::round(100 * *gain) >= 1;
}

double current_imbalance(std::span<const LayerUpdate> updates) {
    std::vector<double> values;
    for (const LayerUpdate& layer : updates)
        values.push_back(layer.current_imbalance);
    return mean_of(values);
}

UpdateSummary summarize(std::span<const LayerUpdate> updates, const Plan& plan) {
    UpdateSummary summary;
    summary.num_slots =
        static_cast<std::int64_t>(updates.size()) * plan.layers.front().placement.num_slots();
    std::vector<int> layer_moves;
    summary.rank_moves.resize(updates.front().rank_moves.size());
    for (const LayerUpdate& layer : updates) {
        layer_moves.push_back(layer.num_moves());
        summary.num_moves += layer_moves.back();
        std::transform(summary.rank_moves.begin(), summary.rank_moves.end(),
                       layer.rank_moves.begin(), summary.rank_moves.begin(), std::plus<>());
    }
    summary.most_layer = position_of_most(layer_moves);
    summary.most_per_layer = layer_moves[summary.most_layer];
    summary.most_rank = position_of_most(summary.rank_moves);
    summary.most_per_rank = summary.rank_moves[summary.most_rank];
    summary.current_imbalance = current_imbalance(updates);
    summary.fitted = mean_over_layers(plan, &LayerPlan::fitted);
    if (plan.basis != PredictionBasis::none && summary.num_moves > 0)
        summary.gain = 1 - plan.prediction.imbalance / summary.current_imbalance;
    return summary;
}

}  // namespace eplb
