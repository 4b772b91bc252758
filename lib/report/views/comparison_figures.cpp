#include "lib/report/views/comparison_figures.h"

#include <algorithm>
#include <utility>

#include "lib/base/not_known.h"
#include "lib/report/views/common_layers.h"

namespace eplb {

Comparison::Comparison(std::span<const MeasuredSubject* const> subjects, Pairing pairing)
    : layers_(common_layers(subjects_of(subjects))) {
    for (std::size_t i = 0; i < subjects.size(); ++i)
        sides_.push_back(make_side(*subjects[i], pairing == Pairing::paired ? 0 : i));
    for (int layer = 0; layer < static_cast<int>(layers_.size()); ++layer) {
        const bool has_tokens = std::all_of(sides_.begin(), sides_.end(), [&](const Side& side) {
            return side.layers[layer]->has_tokens();
        });
        if (has_tokens)
            measured_.push_back(layer);
        has_tokens_.push_back(has_tokens);
    }
}

Comparison::Side Comparison::make_side(const MeasuredSubject& subject, std::uint64_t key) const {
    Side side;
    side.subject = &subject;
    const IterationSeries series = imbalance_series(subject, layers_);
    for (int layer = 0; layer < series.num_series; ++layer) {
        side.layers.push_back(&subject.layer_of(layers_[layer]));
        side.is_well_measured.push_back(num_measured(series, layer) >= kLeastIterations);
    }
    if (std::find(side.is_well_measured.begin(), side.is_well_measured.end(), true) !=
        side.is_well_measured.end())
        side.resampled = resample_means(series, key);
    return side;
}

double Comparison::imbalance(int side, int layer) const {
    return has_tokens_[layer] ? sides_[side].layers[layer]->summary.imbalance_ratio : kNotKnown;
}

double Comparison::average_imbalance(int side) const {
    std::vector<LoadSummary> summaries;
    for (const int layer : measured_)
        summaries.push_back(sides_[side].layers[layer]->summary);
    return summaries.empty() ? kNotKnown : average(summaries).imbalance_ratio;
}

int Comparison::worst_layer(int side) const {
    int worst = measured_.front();
    for (const int layer : measured_)
        if (imbalance(side, layer) > imbalance(side, worst))
            worst = layer;
    return worst;
}

bool Comparison::has_interval(int side, int layer) const {
    return has_tokens_[layer] && sides_.front().is_well_measured[layer] &&
           sides_[side].is_well_measured[layer];
}

Interval Comparison::layer_interval(int side, int layer) const {
    if (!has_interval(side, layer))
        return {kNotKnown, kNotKnown};
    return interval(0, side, [&](const ResampledMeans& means, int resample) {
        return means.mean(resample, layer);
    });
}

Interval Comparison::average_interval(int from, int to) const {
    const auto is_known = [&](int layer) {
        return has_interval(from, layer) && has_interval(to, layer);
    };
    if (measured_.empty() || !std::all_of(measured_.begin(), measured_.end(), is_known))
        return {kNotKnown, kNotKnown};
    return interval(from, to, [&](const ResampledMeans& means, int resample) {
        double sum = 0;
        for (const int layer : measured_)
            sum += means.mean(resample, layer);
        return sum / static_cast<double>(measured_.size());
    });
}

template <typename Figure>
Interval Comparison::interval(int from, int to, const Figure& figure) const {
    const ResampledMeans& first = sides_[from].resampled;
    const ResampledMeans& other = sides_[to].resampled;
    std::vector<double> differences;
    differences.reserve(kNumResamples);
    for (int resample = 0; resample < kNumResamples; ++resample)
        differences.push_back(figure(other, resample) - figure(first, resample));
    return percentile_interval(std::move(differences),
                               std::min(first.num_blocks, other.num_blocks));
}

}  // namespace eplb
