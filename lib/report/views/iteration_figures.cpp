#include "lib/report/views/iteration_figures.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <map>
#include <numeric>

#include "lib/base/error.h"
#include "lib/report/text/number_text.h"

namespace eplb {
namespace {

// How many of the subjects have each layer.
std::map<int, std::size_t> layer_counts(std::span<const Subject* const> subjects) {
    std::map<int, std::size_t> counts;
    for (const Subject* const subject : subjects)
        for (const int layer : subject->layers)
            ++counts[layer];
    return counts;
}

IterationSeries empty_series(int num_iterations, std::size_t num_series) {
    return {num_iterations, static_cast<int>(num_series),
            std::vector<double>(static_cast<std::size_t>(num_iterations) * num_series,
                                std::numeric_limits<double>::quiet_NaN())};
}

}  // namespace

std::vector<int> common_layers(std::span<const Subject* const> subjects) {
    std::vector<int> layers;
    for (const auto& [layer, count] : layer_counts(subjects))
        if (count == subjects.size())
            layers.push_back(layer);
    if (layers.empty())
        throw Error(subjects.back()->name + ": has no layer in common with " +
                    subjects.front()->name + "; give recordings of the same model");
    return layers;
}

std::string missing_layers_note(std::span<const Subject* const> subjects) {
    int count = 0;
    for (const auto& [layer, in_subjects] : layer_counts(subjects))
        count += in_subjects < subjects.size();
    return count == 0
               ? ""
               : counted(count, "layer") + (count == 1 ? " is not in all of them and left out."
                                                       : " are not in all of them and left out.");
}

std::size_t position_of(const Subject& subject, int layer_id) {
    const auto found = std::lower_bound(subject.layers.begin(), subject.layers.end(), layer_id);
    assert(found != subject.layers.end() && *found == layer_id);
    return static_cast<std::size_t>(found - subject.layers.begin());
}

IterationFigures iteration_figures(const Subject& subject,
                                   std::span<const int> layer_ids,
                                   Bins bins,
                                   ThreadPool& threads) {
    IterationFigures figures;
    const std::size_t num_layers = layer_ids.size();
    figures.max_load = empty_series(subject.num_iterations, num_layers);
    figures.mean_load = figures.max_load;
    figures.imbalance_ratio = figures.max_load;
    figures.summaries.resize(num_layers);
    threads.for_each(static_cast<std::int64_t>(num_layers), [&](std::int64_t index) {
        const auto layer = static_cast<std::size_t>(index);
        const std::size_t position = position_of(subject, layer_ids[layer]);
        const LayerLoad load = bins == Bins::ranks
                                   ? subject.rank_load_of(static_cast<int>(position))
                                   : subject.slot_load[position];
        figures.summaries[layer] = summarize(load);
        for (int i = 0; i < load.num_iterations; ++i) {
            const std::span<const double> row = load.iteration(i);
            const double sum = std::accumulate(row.begin(), row.end(), 0.0);
            if (sum == 0)
                continue;
            const std::size_t at = static_cast<std::size_t>(i) * num_layers + layer;
            const double mean = sum / static_cast<double>(row.size());
            const double max = *std::max_element(row.begin(), row.end());
            figures.max_load.values[at] = max;
            figures.mean_load.values[at] = mean;
            figures.imbalance_ratio.values[at] = row.size() > 1 ? max / mean - 1 : 0;
        }
    });
    return figures;
}

std::string bins_text(const Subject& subject, Bins bins) {
    if (bins == Bins::ranks)
        return counted(subject.ep_size, "rank");
    const bool are_slots = subject.split != ReplicaSplit::recorded || subject.ids == IdKind::slot;
    return counted(subject.num_slots(), are_slots ? "slot" : "expert");
}

}  // namespace eplb
