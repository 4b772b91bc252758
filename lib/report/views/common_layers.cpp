#include "lib/report/views/common_layers.h"

#include <map>

#include "lib/base/error.h"
#include "lib/base/text.h"

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

}  // namespace

std::vector<const Subject*> subjects_of(std::span<const MeasuredSubject* const> measured) {
    std::vector<const Subject*> subjects;
    for (const MeasuredSubject* const one : measured)
        subjects.push_back(one->subject);
    return subjects;
}

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

IterationSeries series_of(const MeasuredSubject& subject,
                          std::span<const int> layer_ids,
                          double (*figure)(const MeasuredLayer& layer, int iteration)) {
    IterationSeries series;
    series.num_iterations = subject.subject->num_iterations;
    series.num_series = static_cast<int>(layer_ids.size());
    const std::array<int, 2> sizes = {series.num_iterations, series.num_series};
    series.values.resize(Grid<double, 2>::num_values(sizes));
    const Grid<double, 2> values(series.values, sizes);
    for (int s = 0; s < series.num_series; ++s) {
        const MeasuredLayer& layer = subject.layer_of(layer_ids[s]);
        for (int i = 0; i < series.num_iterations; ++i)
            values(i, s) = figure(layer, i);
    }
    return series;
}

IterationSeries imbalance_series(const MeasuredSubject& subject, std::span<const int> layer_ids) {
    return series_of(subject, layer_ids, [](const MeasuredLayer& layer, int iteration) {
        return layer.imbalance_ratio(iteration);
    });
}

}  // namespace eplb
