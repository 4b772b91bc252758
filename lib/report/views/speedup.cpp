#include "lib/report/views/speedup.h"

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/report/text/number_text.h"
#include "lib/report/views/bootstrap.h"
#include "lib/report/views/iteration_figures.h"

namespace eplb {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

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
        sums[s] = counts[s] > 0 ? sums[s] / counts[s] : kUnknown;
    return sums;
}

// [layers], of one subject.
struct Times {
    std::vector<double> mean;  // tokens of a rank
    std::vector<double> max;   // of the fullest rank
};

Times times_of(const IterationFigures& figures) {
    return {means_of(figures.mean_load), means_of(figures.max_load)};
}

Times resampled_times(const ResampledMeans& mean, const ResampledMeans& max, int resample) {
    Times times;
    for (int layer = 0; layer < mean.num_series; ++layer) {
        times.mean.push_back(mean.mean(resample, layer));
        times.max.push_back(max.mean(resample, layer));
    }
    return times;
}

// of the fullest rank after, where ranks have as many tokens as before
double scaled_max(const Times& before, const Times* after, std::size_t layer) {
    if (after == nullptr)
        return before.mean[layer];
    return after->max[layer] * before.mean[layer] / after->mean[layer];
}

// Of the layers' times added up; those that are not known on both sides are left out.
double total_speedup(const Times& before, const Times* after) {
    double time_before = 0;
    double time_after = 0;
    for (std::size_t layer = 0; layer < before.max.size(); ++layer) {
        const double max = scaled_max(before, after, layer);
        if (std::isnan(max) || std::isnan(before.max[layer]))
            continue;
        time_before += before.max[layer];
        time_after += max;
    }
    return time_after > 0 ? time_before / time_after : kUnknown;
}

struct Sides {
    IterationFigures before;
    std::optional<IterationFigures> after;
};

// Of the total speed-up; none where there are too few iterations.
std::optional<Interval> speedup_interval(const Sides& sides, Pairing pairing) {
    const auto is_enough = [](const IterationFigures& figures) {
        return num_measured(figures.max_load) >= kLeastIterations;
    };
    if (!is_enough(sides.before) || (sides.after && !is_enough(*sides.after)))
        return {};
    const ResampledMeans mean_before = resample_means(sides.before.mean_load, 0);
    const ResampledMeans max_before = resample_means(sides.before.max_load, 0);
    const std::uint64_t key = pairing == Pairing::paired ? 0 : 1;
    ResampledMeans mean_after;
    ResampledMeans max_after;
    int num_blocks = mean_before.num_blocks;
    if (sides.after) {
        mean_after = resample_means(sides.after->mean_load, key);
        max_after = resample_means(sides.after->max_load, key);
        num_blocks = std::min(num_blocks, mean_after.num_blocks);
    }
    std::vector<double> speedups;
    speedups.reserve(kNumResamples);
    for (int resample = 0; resample < kNumResamples; ++resample) {
        const Times before = resampled_times(mean_before, max_before, resample);
        const Times after = resampled_times(mean_after, max_after, resample);
        speedups.push_back(total_speedup(before, sides.after ? &after : nullptr));
    }
    return percentile_interval(std::move(speedups), num_blocks);
}

void add_throughput(
    Table& table, const Subject& before, const Subject* after, double rate, double model_speedup) {
    const double rate_after = rate * model_speedup;
    const double total_before = rate * before.ep_size;
    const int ep_size_after = after == nullptr ? before.ep_size : after->ep_size;
    const double total_after = rate_after * ep_size_after;
    table.context.emplace_back("tokens_per_second_per_rank_before", rate);
    table.context.emplace_back("tokens_per_second_per_rank_after", rate_after);
    table.context.emplace_back("tokens_per_second_before", total_before);
    table.context.emplace_back("tokens_per_second_after", total_after);
    table.notes.push_back(
        "Tokens per second and rank: " + fixed(rate, 0) + " -> " + fixed(rate_after, 0) +
        "; on all " + counted(ep_size_after, "rank") + ": " + fixed(total_before, 0) +
        (ep_size_after == before.ep_size ? "" : " (on " + std::to_string(before.ep_size) + ")") +
        " -> " + fixed(total_after, 0) + ".");
}

}  // namespace

double whole_speedup(double moe_share, double speedup) {
    return 1 / (1 - moe_share + moe_share / speedup);
}

Table worth_table(const Subject& before,
                  const Subject* after,
                  Pairing pairing,
                  const WorthOptions& options,
                  ThreadPool& threads) {
    if (!(options.moe_share > 0 && options.moe_share <= 1))
        throw Error("moe_share " + fixed(options.moe_share, 3) +
                    " is not a share; give one above 0 and up to 1");
    std::vector<const Subject*> subjects = {&before};
    if (after != nullptr)
        subjects.push_back(after);
    const std::vector<int> layers = common_layers(subjects);
    Sides sides = {iteration_figures(before, layers, Bins::ranks, threads), {}};
    if (after != nullptr)
        sides.after = iteration_figures(*after, layers, Bins::ranks, threads);
    const Times times_before = times_of(sides.before);
    const Times times_after = sides.after ? times_of(*sides.after) : Times{};
    const Times* const times_after_or_null = sides.after ? &times_after : nullptr;

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
        const double max_after = scaled_max(times_before, times_after_or_null, layer);
        table.rows.push_back({static_cast<std::int64_t>(layers[layer]), times_before.mean[layer],
                              max_before, max_after, max_before / max_after});
        if (std::isnan(max_before) || std::isnan(max_after))
            continue;
        mean_sum += times_before.mean[layer];
        before_sum += max_before;
        after_sum += max_after;
        ++count;
    }
    const double speedup = total_speedup(times_before, times_after_or_null);
    const double num_known = count > 0 ? count : kUnknown;
    table.average = {std::string("average"), mean_sum / num_known, before_sum / num_known,
                     after_sum / num_known, speedup};

    const double model_speedup = whole_speedup(options.moe_share, speedup);
    table.context = {{"name_before", before.name},
                     {"name_after", after == nullptr ? "perfect balance" : after->name},
                     {"ep_size_before", static_cast<std::int64_t>(before.ep_size)},
                     {"ep_size_after", static_cast<std::int64_t>(
                                           after == nullptr ? before.ep_size : after->ep_size)},
                     {"moe_speedup", speedup},
                     {"moe_share", options.moe_share},
                     {"model_speedup", model_speedup}};
    table.notes = {
        "Before: " + before.name + ", " + bins_text(before, Bins::ranks) + ". After: " +
            (after == nullptr ? std::string("perfect balance")
                              : after->name + ", " + bins_text(*after, Bins::ranks)) +
            ".",
        "Max: tokens of the fullest rank of an iteration, a mean over iterations, at equally many "
        "tokens per rank. The average's speed-up is that of the sum over layers.",
        "Assumed: a layer takes as long as its fullest rank has tokens, nothing overlaps, "
        "communication stays as it is, layers run one after another."};
    if (after != nullptr && pairing == Pairing::paired)
        table.notes.push_back(fitted_note());
    const std::string missing = missing_layers_note(subjects);
    if (!missing.empty())
        table.notes.push_back(missing);
    const std::string at_most = after == nullptr ? "at most " : "";
    const std::optional<Interval> interval = speedup_interval(sides, pairing);
    std::string verdict = "The MoE layers get " + at_most + fixed(speedup, 3) + " times as fast";
    if (interval) {
        table.context.emplace_back("moe_speedup_low", interval->low);
        table.context.emplace_back("moe_speedup_high", interval->high);
        verdict +=
            " (95 % interval: " + fixed(interval->low, 3) + " to " + fixed(interval->high, 3) + ")";
    } else {
        verdict += " (too few iterations for an interval)";
    }
    table.notes.push_back(verdict + "; where they take " + fixed(100 * options.moe_share, 0) +
                          " % of the time, the model " + at_most + fixed(model_speedup, 3) +
                          " times.");
    if (options.tokens_per_second_per_rank > 0)
        add_throughput(table, before, after, options.tokens_per_second_per_rank, model_speedup);
    return table;
}

}  // namespace eplb
