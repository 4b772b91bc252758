#include "lib/report/views/drift.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/not_known.h"
#include "lib/base/setting.h"
#include "lib/base/sum.h"
#include "lib/base/text.h"
#include "lib/report/views/bootstrap.h"
#include "lib/report/views/common_layers.h"

namespace eplb {
namespace {

// p log2(p / m) of one share
double divergence(double share, double middle) {
    return share > 0 ? share * std::log2(share / middle) : 0;
}

using Load = std::vector<double>;  // [num_experts]

// Summed over blocks of iterations, dealt to two halves in turn.
std::array<Load, 2> halves(const LayerLoad& load) {
    std::array<Load, 2> sums = {Load(load.num_bins), Load(load.num_bins)};
    const int length = load.num_iterations < 2 * block_length(load.num_iterations)
                           ? 1
                           : block_length(load.num_iterations);
    for (int i = 0; i < load.num_iterations; ++i) {
        const std::span<const double> row = load.iteration(i);
        Load& half = sums[i / length % 2];
        for (std::size_t e = 0; e < half.size(); ++e)
            half[e] += row[e];
    }
    return sums;
}

Load total(const std::array<Load, 2>& parts) {
    Load sum = parts[0];
    for (std::size_t e = 0; e < sum.size(); ++e)
        sum[e] += parts[1][e];
    return sum;
}

double noise(double tokens_a, double tokens_b) {
    return std::sqrt(1 / tokens_a + 1 / tokens_b);
}

struct LayerDrift {
    int layer = 0;  // id
    double cosine = kNotKnown;
    double js = kNotKnown;
    double js_within = kNotKnown;
    double js_expected = kNotKnown;
    double imbalance_1 = kNotKnown;
    double imbalance_2 = kNotKnown;

    bool is_known() const { return !std::isnan(js) && !std::isnan(js_expected); }
    bool drifted() const { return js > kLeastDrift && js > kDriftFactor * js_expected; }
};

LayerDrift layer_drift(const DriftInput& input, int layer_id) {
    const auto load_of = [&](const Subject& subject) -> const LayerLoad& {
        const auto layer = std::lower_bound(subject.layers.begin(), subject.layers.end(), layer_id);
        return subject.expert_load[layer - subject.layers.begin()];
    };
    const std::array<Load, 2> parts = halves(load_of(*input.first));
    const Load first = total(parts);
    const Load second = total(halves(load_of(*input.second)));
    LayerDrift drift;
    drift.layer = layer_id;
    drift.cosine = cosine_similarity(first, second);
    drift.js = js_distance(first, second);
    drift.js_within = js_distance(parts[0], parts[1]);
    drift.js_expected = drift.js_within * noise(sum_of(first), sum_of(second)) /
                        noise(sum_of(parts[0]), sum_of(parts[1]));
    if (input.first_projected == nullptr)
        return drift;
    const auto imbalance_of = [&](const MeasuredSubject& subject) {
        const LoadSummary& summary = subject.layer_of(layer_id).summary;
        return summary.num_iterations > 0 ? summary.imbalance_ratio : kNotKnown;
    };
    drift.imbalance_1 = imbalance_of(*input.first_projected);
    drift.imbalance_2 = imbalance_of(*input.second_projected);
    return drift;
}

void check(const DriftInput& input) {
    for (const Subject* const subject : {input.first, input.second})
        if (!subject->knows_experts())
            throw Error(subject->name +
                        ": holds slot ids, and drift is of experts; give the yaml that was in "
                        "force with " +
                        setting("load_balancer"));
    if (input.first->num_experts != input.second->num_experts)
        throw Error(input.second->name + ": has " + std::to_string(input.second->num_experts) +
                    " experts, but " + input.first->name + " has " +
                    std::to_string(input.first->num_experts) +
                    "; give recordings of the same model");
}

// Mean over the layers where it is known.
double mean_over(const std::vector<LayerDrift>& layers, double LayerDrift::*figure) {
    double sum = 0;
    int count = 0;
    for (const LayerDrift& layer : layers)
        if (!std::isnan(layer.*figure)) {
            sum += layer.*figure;
            ++count;
        }
    return count > 0 ? sum / count : kNotKnown;
}

std::string verdict(const DriftInput& input, const std::vector<LayerDrift>& layers) {
    int num_drifted = 0;
    int num_known = 0;
    const LayerDrift* worst = nullptr;
    for (const LayerDrift& layer : layers) {
        if (!layer.is_known())
            continue;
        ++num_known;
        num_drifted += layer.drifted();
        if (worst == nullptr || layer.js > worst->js)
            worst = &layer;
    }
    if (worst == nullptr)
        return "Too little data: no layer has tokens in both and in two iterations of the first, "
               "so that what chance explains is not known; record more.";
    const std::string of_all = std::to_string(num_drifted) + " of " + counted(num_known, "layer");
    const std::string most = "layer " + std::to_string(worst->layer) + " the most (js " +
                             fixed(worst->js, 3) + ", expected " + fixed(worst->js_expected, 3) +
                             ")";
    if (num_drifted == 0)
        return "No layer drifted, " + most +
               ": a config that was fitted to the first still fits the second.";
    return of_all + (num_drifted == 1 ? " has" : " have") + " drifted, " + most +
           ": a config that was fitted to the first has grown stale there; fit one to both with "
           "eplb-gen " +
           input.first->name + " " + input.second->name + ".";
}

}  // namespace

double cosine_similarity(std::span<const double> a, std::span<const double> b) {
    double product = 0;
    double a_squares = 0;
    double b_squares = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        product += a[i] * b[i];
        a_squares += a[i] * a[i];
        b_squares += b[i] * b[i];
    }
    if (a_squares == 0 || b_squares == 0)
        return kNotKnown;
    return std::min(1.0, product / std::sqrt(a_squares * b_squares));
}

double js_distance(std::span<const double> a, std::span<const double> b) {
    const double a_sum = sum_of(a);
    const double b_sum = sum_of(b);
    if (a_sum == 0 || b_sum == 0)
        return kNotKnown;
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double p = a[i] / a_sum;
        const double q = b[i] / b_sum;
        const double middle = (p + q) / 2;
        sum += divergence(p, middle) + divergence(q, middle);
    }
    return std::sqrt(std::min(1.0, std::max(0.0, sum / 2)));
}

Table drift_table(const DriftInput& input, ThreadPool& threads) {
    check(input);
    const std::array<const Subject*, 2> subjects = {input.first, input.second};
    const std::vector<int> layer_ids = common_layers(subjects);
    std::vector<LayerDrift> layers(layer_ids.size());
    threads.for_each(static_cast<std::int64_t>(layers.size()),
                     [&](std::int64_t i) { layers[i] = layer_drift(input, layer_ids[i]); });

    Table table;
    table.title = "Drift:";
    const bool is_projected = input.first_projected != nullptr;
    table.columns = {
        {"layer", "layer"},         {"cosine", "cosine"},           {"js", "js"},
        {"js_within", "js-within"}, {"js_expected", "js-expected"}, {"drifted", "drifted"}};
    if (is_projected) {
        table.columns.push_back({"imbalance_ratio_1", "imbalance-ratio-1"});
        table.columns.push_back({"imbalance_ratio_2", "imbalance-ratio-2"});
    }
    int num_drifted = 0;
    for (const LayerDrift& layer : layers) {
        num_drifted += layer.drifted();
        table.rows.push_back({layer.layer, layer.cosine, layer.js, layer.js_within,
                              layer.js_expected,
                              std::string(!layer.is_known() ? "?"
                                          : layer.drifted() ? "yes"
                                                            : "")});
        if (is_projected) {
            table.rows.back().emplace_back(layer.imbalance_1);
            table.rows.back().emplace_back(layer.imbalance_2);
        }
    }
    table.average = {std::string("average")};
    for (double LayerDrift::*const figure :
         {&LayerDrift::cosine, &LayerDrift::js, &LayerDrift::js_within, &LayerDrift::js_expected})
        table.average.emplace_back(mean_over(layers, figure));
    table.average.emplace_back();

    for (std::size_t i = 0; i < subjects.size(); ++i) {
        const std::string number = std::to_string(i + 1);
        const Subject& subject = *subjects[i];
        table.context.emplace_back("name_" + number, subject.name);
        table.context.emplace_back("iter_start_" + number, subject.iter_start);
        table.context.emplace_back("iter_stop_" + number, subject.iter_stop());
        table.notes.push_back(number + ": " + subject.name + ", iterations " +
                              range_text(subject.iterations()) + ".");
    }
    table.context.emplace_back("num_experts", input.first->num_experts);
    table.context.emplace_back("num_drifted", num_drifted);
    table.notes.push_back(
        "Shares of the experts over all iterations. cosine: 1 the same (xLLM's measure of drift); "
        "js: Jensen-Shannon distance, 0 the same, 1 nothing in common; js-within: of two halves of "
        "1; js-expected: of two such recordings without drift.");
    table.notes.push_back("Drifted: js above " + fixed(kDriftFactor, 0) +
                          " x js-expected and above " + fixed(kLeastDrift, 2) + ".");
    if (std::any_of(layers.begin(), layers.end(),
                    [](const LayerDrift& layer) { return !layer.is_known(); }))
        table.notes.emplace_back(
            "? not known: a layer without tokens in one of them, or with tokens in a single "
            "iteration of 1, which does not tell what chance explains.");
    const std::string missing = missing_layers_note(subjects);
    if (!missing.empty())
        table.notes.push_back(missing);
    table.notes.emplace_back(verdict(input, layers), Note::Kind::verdict);
    if (is_projected) {
        const double first = mean_over(layers, &LayerDrift::imbalance_1);
        const double second = mean_over(layers, &LayerDrift::imbalance_2);
        table.average.emplace_back(first);
        table.average.emplace_back(second);
        table.notes.emplace_back(
            "Under the config, on " + bins_text(*input.first_projected->subject, Bins::ranks) +
                ": average imbalance " + fixed(first, 3) + " on 1, " + fixed(second, 3) + " on 2.",
            Note::Kind::verdict);
    }
    return table;
}

}  // namespace eplb
