#include "lib/report/measured_subject.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "lib/base/not_known.h"

namespace eplb {
namespace {

MeasuredLayer measure_layer(const Subject& subject, int layer, Bins bins) {
    const LayerLoad load = bins_of(subject, layer, bins);
    MeasuredLayer measured;
    measured.layer = subject.layers[layer];
    measured.summary = summarize(load);
    measured.totals = bin_totals(load);
    measured.mean =
        std::accumulate(measured.totals.begin(), measured.totals.end(), 0.0) / load.num_bins;
    measured.mean_load.assign(load.num_iterations, kNotKnown);
    measured.max_load = measured.mean_load;
    for (int i = 0; i < load.num_iterations; ++i) {
        const std::span<const double> row = load.iteration(i);
        const double sum = std::accumulate(row.begin(), row.end(), 0.0);
        if (sum == 0)
            continue;
        measured.mean_load[i] = sum / load.num_bins;
        measured.max_load[i] = *std::max_element(row.begin(), row.end());
    }
    return measured;
}

}  // namespace

double MeasuredLayer::imbalance_ratio(int iteration) const {
    return max_load[iteration] / mean_load[iteration] - 1;
}

const MeasuredLayer& MeasuredSubject::layer_of(int layer_id) const {
    const auto found = std::lower_bound(subject->layers.begin(), subject->layers.end(), layer_id);
    assert(found != subject->layers.end() && *found == layer_id);
    return layers[found - subject->layers.begin()];
}

const MeasuredLayer* MeasuredSubject::worst() const {
    const MeasuredLayer* result = nullptr;
    for (const MeasuredLayer& layer : layers)
        if (layer.has_tokens() &&
            (result == nullptr || layer.summary.imbalance_ratio > result->summary.imbalance_ratio))
            result = &layer;
    return result;
}

MeasuredSubject measure(const Subject& subject, Bins bins, ThreadPool& threads) {
    MeasuredSubject measured;
    measured.subject = &subject;
    measured.bins = bins;
    measured.layers.resize(subject.layers.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        measured.layers[layer] = measure_layer(subject, static_cast<int>(layer), bins);
    });
    std::vector<LoadSummary> summaries;
    for (const MeasuredLayer& layer : measured.layers)
        summaries.push_back(layer.summary);
    measured.average = average(summaries);
    return measured;
}

const MeasuredSubject& Measurements::of(const Subject& subject) {
    const auto found = measured_.find(&subject);
    return found != measured_.end()
               ? found->second
               : measured_.emplace(&subject, measure(subject, bins_, threads_)).first->second;
}

}  // namespace eplb
