#include "lib/report/timed_subject.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "lib/base/not_known.h"
#include "lib/base/sum.h"
#include "lib/placement/route/load_summary.h"

namespace eplb {
namespace {

// Of the layers' mean over iterations, so that one that some iterations lack counts only there.
double balanced_iteration_us(const std::vector<LayerTimes>& layers, std::size_t num_iterations) {
    double sum = 0;
    for (const LayerTimes& layer : layers)
        for (const double time : layer.balanced_us)
            if (!std::isnan(time))
                sum += time;
    return num_iterations > 0 ? sum / static_cast<double>(num_iterations) : kNotKnown;
}

double mean_tokens_per_rank(const Subject& subject, int top_k) {
    double rows = 0;
    int num_cells = 0;  // of a layer and an iteration, with tokens
    for (const LayerLoad& load : subject.slot_load)
        for (int i = 0; i < load.num_iterations; ++i) {
            const double sum = sum_of(load.iteration(i));
            rows += sum;
            num_cells += sum > 0;
        }
    return top_k > 0 && num_cells > 0 ? rows / num_cells / top_k / subject.ep_size : kNotKnown;
}

}  // namespace

double TimedSubject::tokens_per_second_per_gpu() const {
    constexpr double kMicroseconds = 1e6;
    return tokens_per_rank / mean_us * kMicroseconds;
}

bool TimedSubject::has_tokens() const {
    return !std::isnan(mean_us);
}

int TimedSubject::position_of(int layer_id) const {
    const std::vector<int>& ids = subject->layers;
    const auto found = std::lower_bound(ids.begin(), ids.end(), layer_id);
    assert(found != ids.end() && *found == layer_id);
    return static_cast<int>(found - ids.begin());
}

int TimedSubject::slowest_layer() const {
    const auto slowest = std::max_element(
        summaries.begin(), summaries.end(),
        [](const LayerTimeSummary& a, const LayerTimeSummary& b) { return a.time_us < b.time_us; });
    return static_cast<int>(slowest - summaries.begin());
}

TimedSubject time_subject(const Subject& subject,
                          const GpuCost& gpu,
                          int top_k,
                          ThreadPool& threads) {
    TimedSubject timed;
    timed.subject = &subject;
    timed.gpu = gpu;
    timed.layers.resize(subject.layers.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        timed.layers[layer] = layer_times(subject.slot_load[layer], subject.ep_size, gpu.cost);
    });
    for (const LayerTimes& layer : timed.layers)
        timed.summaries.push_back(summarize(layer));
    timed.iteration_us = summed_times(timed.layers);
    std::vector<double> sorted;
    for (const double time : timed.iteration_us)
        if (!std::isnan(time))
            sorted.push_back(time);
    std::sort(sorted.begin(), sorted.end());
    timed.mean_us = mean_of(timed.iteration_us);
    timed.p99_us = sorted.empty() ? kNotKnown : percentile(sorted, 99);
    timed.balanced_us = balanced_iteration_us(timed.layers, sorted.size());
    timed.tokens_per_rank =
        mean_tokens_per_rank(subject, subject.top_k > 0 ? subject.top_k : top_k);
    return timed;
}

}  // namespace eplb
