#include "lib/report/views/speedup.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/not_known.h"
#include "lib/base/text.h"
#include "lib/report/views/bootstrap.h"
#include "lib/report/views/common_layers.h"

namespace eplb {
namespace {

// mean over iterations with tokens; NaN where there are none
std::vector<double> means_of(const IterationSeries& series) {
    std::vector<double> sums(series.num_series);
    std::vector<int> counts(sums.size());
    for (std::size_t i = 0; i < series.values.size(); ++i)
        if (!std::isnan(series.values[i])) {
            sums[i % sums.size()] += series.values[i];
            ++counts[i % sums.size()];
        }
    for (std::size_t s = 0; s < sums.size(); ++s)
        sums[s] = counts[s] > 0 ? sums[s] / counts[s] : kNotKnown;
    return sums;
}

// [layers], of one subject.
struct Times {
    std::vector<double> mean;  // tokens of a rank
    std::vector<double> max;   // of the fullest rank
};

// Per iteration.
struct Side {
    IterationSeries mean_load;
    IterationSeries max_load;

    Side(const MeasuredSubject& subject, std::span<const int> layer_ids)
        : mean_load(series_of(subject,
                              layer_ids,
                              [](const MeasuredLayer& layer, int iteration) {
                                  return layer.mean_load[iteration];
                              })),
          max_load(series_of(subject, layer_ids, [](const MeasuredLayer& layer, int iteration) {
              return layer.max_load[iteration];
          })) {}

    Times times() const { return {means_of(mean_load), means_of(max_load)}; }
    bool has_interval() const { return num_measured(max_load) >= kLeastIterations; }
};

// The same, again and again.
struct ResampledTimes {
    ResampledMeans mean;
    ResampledMeans max;

    ResampledTimes(const Side& side, std::uint64_t key)
        : mean(resample_means(side.mean_load, key)), max(resample_means(side.max_load, key)) {}

    Times times(int resample) const {
        Times times;
        for (int layer = 0; layer < mean.num_series; ++layer) {
            times.mean.push_back(mean.mean(resample, layer));
            times.max.push_back(max.mean(resample, layer));
        }
        return times;
    }
};

// of the fullest rank after, where ranks have as many tokens as before
double scaled_max(const Times& before, const std::optional<Times>& after, std::size_t layer) {
    if (!after)
        return before.mean[layer];
    return after->max[layer] * before.mean[layer] / after->mean[layer];
}

// Of the layers' times added up; those that are not known on both sides are left out.
double total_speedup(const Times& before, const std::optional<Times>& after) {
    double time_before = 0;
    double time_after = 0;
    for (std::size_t layer = 0; layer < before.max.size(); ++layer) {
        const double max = scaled_max(before, after, layer);
        if (std::isnan(max) || std::isnan(before.max[layer]))
            continue;
        time_before += before.max[layer];
        time_after += max;
    }
    return time_after > 0 ? time_before / time_after : kNotKnown;
}

// Of the total speed-up; none where there are too few iterations.
std::optional<Interval> speedup_interval(const Side& before,
                                         const std::optional<Side>& after,
                                         Pairing pairing) {
    if (!before.has_interval() || (after && !after->has_interval()))
        return {};
    const ResampledTimes resampled(before, 0);
    std::optional<ResampledTimes> resampled_after;
    int num_blocks = resampled.mean.num_blocks;
    if (after) {
        resampled_after.emplace(*after, pairing == Pairing::paired ? 0 : 1);
        num_blocks = std::min(num_blocks, resampled_after->mean.num_blocks);
    }
    std::vector<double> speedups;
    speedups.reserve(kNumResamples);
    for (int resample = 0; resample < kNumResamples; ++resample) {
        std::optional<Times> times_after;
        if (resampled_after)
            times_after = resampled_after->times(resample);
        speedups.push_back(total_speedup(resampled.times(resample), times_after));
    }
    return percentile_interval(std::move(speedups), num_blocks);
}

// rate: tokens per second and rank before.
void add_throughput(
    Table& table, int ep_size_before, int ep_size_after, double rate, double model_speedup) {
    const double rate_after = rate * model_speedup;
    const double total_before = rate * ep_size_before;
    const double total_after = rate_after * ep_size_after;
    table.context.emplace_back("tokens_per_second_per_rank_before", rate);
    table.context.emplace_back("tokens_per_second_per_rank_after", rate_after);
    table.context.emplace_back("tokens_per_second_before", total_before);
    table.context.emplace_back("tokens_per_second_after", total_after);
    table.notes.emplace_back(
        "Tokens per second and rank: " + fixed(rate, 0) + " -> " + fixed(rate_after, 0) +
            "; on all " + counted(ep_size_after, "rank") + ": " + fixed(total_before, 0) +
            (ep_size_after == ep_size_before ? ""
                                             : " (on " + std::to_string(ep_size_before) + ")") +
            " -> " + fixed(total_after, 0) + ".",
        Note::Kind::verdict);
}

}  // namespace

double whole_speedup(double moe_share, double speedup) {
    return 1 / (1 - moe_share + moe_share / speedup);
}

Table worth_table(const MeasuredSubject& before,
                  const MeasuredSubject* after,
                  Pairing pairing,
                  const WorthOptions& options) {
    if (!(options.moe_share > 0 && options.moe_share <= 1))
        throw Error("moe_share " + fixed(options.moe_share, 3) +
                    " is not a share; give one above 0 and up to 1");
    std::vector<const Subject*> subjects = {before.subject};
    if (after != nullptr)
        subjects.push_back(after->subject);
    const std::vector<int> layers = common_layers(subjects);
    const Side side_before(before, layers);
    std::optional<Side> side_after;
    if (after != nullptr)
        side_after.emplace(*after, layers);
    const Times times_before = side_before.times();
    std::optional<Times> times_after;
    if (side_after)
        times_after = side_after->times();

    Table table;
    table.title = "Estimated speed-up of the MoE layers:";
    table.columns = {{"layer", "layer"},
                     {"mean_tokens", "mean-tokens"},
                     {"max_tokens_before", "max-before"},
                     {"max_tokens_after", "max-after"},
                     {"speedup", "speedup"}};
    double mean_sum = 0;
    double before_sum = 0;
    double after_sum = 0;
    int count = 0;
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        const double max_before = times_before.max[layer];
        const double max_after = scaled_max(times_before, times_after, layer);
        table.rows.push_back({layers[layer], times_before.mean[layer], max_before, max_after,
                              max_before / max_after});
        if (std::isnan(max_before) || std::isnan(max_after))
            continue;
        mean_sum += times_before.mean[layer];
        before_sum += max_before;
        after_sum += max_after;
        ++count;
    }
    const double speedup = total_speedup(times_before, times_after);
    const double num_known = count > 0 ? count : kNotKnown;
    table.average = {"average", mean_sum / num_known, before_sum / num_known, after_sum / num_known,
                     speedup};

    const std::string perfect = "perfect balance";
    const double model_speedup = whole_speedup(options.moe_share, speedup);
    table.context = {{"name_before", subjects.front()->name},
                     {"name_after", after == nullptr ? perfect : subjects.back()->name},
                     {"ep_size_before", subjects.front()->ep_size},
                     {"ep_size_after", subjects.back()->ep_size},
                     {"moe_speedup", speedup},
                     {"moe_share", options.moe_share},
                     {"model_speedup", model_speedup}};
    const auto on_ranks = [](const Subject& subject) {
        return subject.name + ", " + bins_text(subject, Bins::ranks);
    };
    table.notes = {
        "Before: " + on_ranks(*subjects.front()) +
            ". After: " + (after == nullptr ? perfect : on_ranks(*subjects.back())) + ".",
        "Max: tokens of the fullest rank of an iteration, a mean over iterations, at equally many "
        "tokens per rank. The average's speed-up is that of the sum over layers.",
        "Assumed: a layer takes as long as its fullest rank has tokens, nothing overlaps, "
        "communication stays as it is, layers run one after another."};
    if (after != nullptr && pairing == Pairing::paired)
        table.notes.emplace_back(fitted_note());
    if (const std::string missing = missing_layers_note(subjects); !missing.empty())
        table.notes.emplace_back(missing);
    const std::optional<Interval> interval = speedup_interval(side_before, side_after, pairing);
    if (interval) {
        table.context.emplace_back("moe_speedup_low", interval->low);
        table.context.emplace_back("moe_speedup_high", interval->high);
    }
    const std::string at_most = after == nullptr ? "at most " : "";
    const std::string verdict =
        "the MoE layers get " + at_most + fixed(speedup, 3) + " times as fast" +
        (interval ? " (95 % interval: " + fixed(interval->low, 3) + " to " +
                        fixed(interval->high, 3) + ")"
                  : std::string(" (too few iterations for an interval)")) +
        "; where they take " + fixed(100 * options.moe_share, 0) + " % of the time, the model " +
        at_most + fixed(model_speedup, 3) + " times";
    table.notes.emplace_back(sentence(verdict), Note::Kind::verdict);
    if (after != nullptr)
        table.notes.back().headline = "1 -> 2: " + verdict + ".";
    if (options.tokens_per_second_per_rank > 0)
        add_throughput(table, subjects.front()->ep_size, subjects.back()->ep_size,
                       options.tokens_per_second_per_rank, model_speedup);
    return table;
}

}  // namespace eplb
