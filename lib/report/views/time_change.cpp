#include "lib/report/views/time_change.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lib/base/not_known.h"
#include "lib/base/setting.h"
#include "lib/base/sum.h"
#include "lib/base/text.h"
#include "lib/report/views/time_table.h"

namespace eplb {
namespace {

// One series of what layers take together.
IterationSeries total_series(const TimedSubject& timed, std::span<const int> layer_ids) {
    const IterationSeries layers = time_series(timed, layer_ids);
    IterationSeries total;
    total.num_iterations = layers.num_iterations;
    total.num_series = 1;
    for (int i = 0; i < layers.num_iterations; ++i) {
        double sum = 0;
        bool has_tokens = false;
        for (const double time : layers.grid().row(i))
            if (!std::isnan(time)) {
                sum += time;
                has_tokens = true;
            }
        total.values.push_back(has_tokens ? sum : kNotKnown);
    }
    return total;
}

// "0.30 ms" of a difference, with its sign.
std::string signed_text(double us) {
    return (us < 0 ? "-" : "") + time_text(std::abs(us));
}

}  // namespace

IterationSeries time_series(const TimedSubject& timed, std::span<const int> layer_ids) {
    IterationSeries series;
    series.num_iterations = timed.subject->num_iterations;
    series.num_series = static_cast<int>(layer_ids.size());
    for (int i = 0; i < series.num_iterations; ++i)
        for (const int layer_id : layer_ids)
            series.values.push_back(timed.layers[timed.position_of(layer_id)].slowest_us[i]);
    return series;
}

TimeChange time_change(const TimedSubject& before,
                       const TimedSubject& after,
                       std::span<const int> layer_ids,
                       Pairing pairing) {
    const IterationSeries first = total_series(before, layer_ids);
    const IterationSeries second = total_series(after, layer_ids);
    TimeChange change;
    change.before_us = mean_of(first.values);
    change.after_us = mean_of(second.values);
    if (num_measured(first) < kLeastIterations || num_measured(second) < kLeastIterations)
        return change;
    const ResampledMeans firsts = resample_means(first, 0);
    const ResampledMeans seconds = resample_means(second, pairing == Pairing::paired ? 0 : 1);
    std::vector<double> differences;
    std::vector<double> speedups;
    for (int resample = 0; resample < kNumResamples; ++resample) {
        const double from = firsts.mean(resample, 0);
        const double to = seconds.mean(resample, 0);
        differences.push_back(to - from);
        speedups.push_back(from / to);
    }
    const int num_blocks = std::min(firsts.num_blocks, seconds.num_blocks);
    change.difference = percentile_interval(std::move(differences), num_blocks);
    change.speedup = percentile_interval(std::move(speedups), num_blocks);
    return change;
}

std::string time_change_text(const TimedSubject& before,
                             const TimedSubject& after,
                             int num_layers,
                             const TimeChange& change) {
    std::string text =
        "on " + before.gpu.profile.name + " the " +
        (num_layers == 1 ? "MoE layer takes " : counted(num_layers, "MoE layer") + " take ") +
        time_text(change.before_us) + " -> " + time_text(change.after_us) + " an iteration";
    if (change.difference)
        text += " (95 % interval of the difference: " + signed_text(change.difference->low) +
                " to " + signed_text(change.difference->high) +
                (change.difference->contains(0) ? ", no significant change)" : ")");
    else
        text += " (too few iterations for an interval)";
    constexpr double kSameBatch = 0.05;
    const double batches = after.tokens_per_rank / before.tokens_per_rank;
    if (std::abs(batches - 1) > kSameBatch)
        text += "; with " + token_number_text(before.tokens_per_rank) + " and " +
                token_number_text(after.tokens_per_rank) +
                " per rank, which is a difference of its own";
    return text;
}

std::string tokens_alone_note() {
    return "Tokens are not time: " + setting("gpu") + " with " + setting("model_config") +
           " says what they take.";
}

}  // namespace eplb
