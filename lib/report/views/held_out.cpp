#include "lib/report/views/held_out.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/placement/route/replica_replay.h"
#include "lib/report/text/number_text.h"
#include "lib/report/views/bootstrap.h"
#include "lib/report/views/iteration_figures.h"

namespace eplb {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// A recording of more than so many times the iterations is no advice.
constexpr double kMostIterations = 1e6;

std::string range_text(const IterationRange& range) {
    return std::to_string(range.start) + "-" + std::to_string(range.stop);
}

// The larger stretch before or after `taken`.
IterationRange rest_of(const IterationRange& recorded, const IterationRange& taken) {
    const IterationRange before = {recorded.start, taken.start};
    const IterationRange after = {taken.stop, recorded.stop};
    const IterationRange rest =
        before.stop - before.start > after.stop - after.start ? before : after;
    if (rest.start == rest.stop)
        throw Error("iterations " + range_text(taken) +
                    ": are all that was recorded, which leaves none to fit to or to test on; "
                    "choose fewer, or give a second recording");
    return rest;
}

ExpertStatistics iterations_of(const ExpertStatistics& statistics, const IterationRange& range) {
    const auto per_iteration = static_cast<std::ptrdiff_t>(statistics.num_layers()) *
                               statistics.num_sources * statistics.num_experts;
    const auto begin =
        statistics.counts.begin() + (range.start - statistics.iter_start) * per_iteration;
    ExpertStatistics part;
    part.num_experts = statistics.num_experts;
    part.top_k = statistics.top_k;
    part.ep_size = statistics.ep_size;
    part.layers = statistics.layers;
    part.iter_start = range.start;
    part.num_iterations = static_cast<int>(range.stop - range.start);
    part.num_sources = statistics.num_sources;
    part.has_unknown_sources = statistics.has_unknown_sources;
    part.ids = statistics.ids;
    part.counts = {begin, begin + part.num_iterations * per_iteration};
    return part;
}

void check_alike(const HeldOutPart& fit, const HeldOutPart& test) {
    for (const HeldOutPart* const part : {&fit, &test})
        if (part->statistics->ids == IdKind::slot)
            throw Error(part->name +
                        ": holds slot ids, and a placement is fitted to experts; give the yaml "
                        "that was in force with --load_balancer");
    const int num_experts = test.statistics->num_experts;
    if (fit.statistics->num_experts != num_experts)
        throw Error(test.name + ": has " + counted(num_experts, "expert") + ", but " + fit.name +
                    " has " + std::to_string(fit.statistics->num_experts) +
                    "; give recordings of the same model");
    if (fit.statistics->layers != test.statistics->layers)
        throw Error(test.name + ": has other layers than " + fit.name +
                    "; choose some that both have with --layers");
}

// What the table is made of; [layers].
struct Figures {
    std::vector<LoadSummary> fitted;
    std::vector<LoadSummary> greedy;  // empty where there is none
    IterationFigures unbalanced;
    IterationFigures held_out;

    bool is_known(std::size_t layer) const {
        return unbalanced.summaries[layer].num_iterations > 0;
    }
};

double speedup(double unbalanced, double held_out) {
    return (1 + unbalanced) / (1 + held_out);
}

// of the layers' times added up; unbalanced(layer) and held_out(layer) are imbalance ratios
template <typename Unbalanced, typename HeldOutImbalance>
double total_speedup(const Figures& figures,
                     const Unbalanced& unbalanced,
                     const HeldOutImbalance& held_out) {
    double before = 0;
    double after = 0;
    for (std::size_t layer = 0; layer < figures.unbalanced.summaries.size(); ++layer) {
        if (!figures.is_known(layer))
            continue;
        before += 1 + unbalanced(layer);
        after += 1 + held_out(layer);
    }
    return after > 0 ? before / after : kUnknown;
}

double total_speedup(const Figures& figures) {
    return total_speedup(
        figures,
        [&](std::size_t layer) { return figures.unbalanced.summaries[layer].imbalance_ratio; },
        [&](std::size_t layer) { return figures.held_out.summaries[layer].imbalance_ratio; });
}

std::optional<Interval> speedup_interval(const Figures& figures) {
    const IterationSeries& test = figures.unbalanced.imbalance_ratio;
    for (int layer = 0; layer < test.num_series; ++layer)
        if (figures.is_known(static_cast<std::size_t>(layer)) &&
            num_measured(test, layer) < kLeastIterations)
            return {};
    if (num_measured(test) < kLeastIterations)
        return {};
    const ResampledMeans unbalanced = resample_means(figures.unbalanced.imbalance_ratio, 0);
    const ResampledMeans held_out = resample_means(figures.held_out.imbalance_ratio, 0);
    std::vector<double> speedups;
    speedups.reserve(kNumResamples);
    for (int resample = 0; resample < kNumResamples; ++resample)
        speedups.push_back(total_speedup(
            figures,
            [&](std::size_t layer) { return unbalanced.mean(resample, static_cast<int>(layer)); },
            [&](std::size_t layer) { return held_out.mean(resample, static_cast<int>(layer)); }));
    return percentile_interval(std::move(speedups), unbalanced.num_blocks);
}

Verdict verdict_of(const HeldOut& held_out,
                   const std::optional<Interval>& interval,
                   double min_speedup) {
    if (held_out.overlaps || held_out.fit_is_assumed)
        return Verdict::none;
    if (interval && interval->low > min_speedup)
        return Verdict::worth_it;
    if (interval && interval->high < min_speedup)
        return Verdict::not_worth_it;
    return Verdict::too_little_data;
}

std::string name_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::worth_it:
            return "worth it";
        case Verdict::not_worth_it:
            return "not worth it";
        case Verdict::too_little_data:
            return "too little data";
        case Verdict::none:
            return "none";
    }
    return "";
}

// How many iterations would set the interval apart from min_speedup, if the speed-up stayed as it
// is: an interval narrows with the root of their number.
std::string more_iterations(int num_iterations,
                            double value,
                            const Interval& interval,
                            double min_speedup) {
    const double margin = value > min_speedup ? value - interval.low : interval.high - value;
    const double needed = num_iterations * std::pow(margin / (value - min_speedup), 2);
    if (!(needed < kMostIterations))
        return "the speed-up is too near to --min_speedup for any recording to tell";
    // never fewer than there are, and no more digits than such a guess has
    const double rounding = std::pow(10, std::max(0.0, std::floor(std::log10(needed)) - 1));
    const double rounded = std::ceil(std::max(needed, num_iterations + 1.0) / rounding) * rounding;
    return "about " + fixed(rounded, 0) +
           " iterations in the test would tell: record more, or set --min_speedup to what matters";
}

std::string verdict_note(const HeldOut& held_out,
                         Verdict verdict,
                         double value,
                         const std::optional<Interval>& interval,
                         double min_speedup) {
    if (held_out.fit_is_assumed)
        return "Warning: which iterations the config was fitted to is not known, so that nothing "
               "here is sure to be held out, and there is no verdict; say it with --fit, or test "
               "on a second recording.";
    if (verdict == Verdict::none)
        return "Warning: the test overlaps the fit: no held-out figure, and no verdict; choose "
               "ranges apart with --fit and --test.";
    const int num_iterations = held_out.held_out.num_iterations;
    std::string text = "Verdict: " + name_of(verdict) +
                       ". On traffic like the test the experts get " + fixed(value, 3) +
                       " times as fast";
    if (!interval)
        return text + "; " +
               (num_iterations < kLeastIterations
                    ? counted(num_iterations, "iteration") + " in the test are too few"
                    : std::string("the iterations of the test in which some layer has tokens are "
                                  "too few")) +
               " to be sure of it: record " + std::to_string(kLeastIterations) + " or more.";
    text += " (95 % interval: " + fixed(interval->low, 3) + " to " + fixed(interval->high, 3) +
            "; worth it from " + fixed(min_speedup, 3) + " on)";
    switch (verdict) {
        case Verdict::worth_it:
            return text + ".";
        case Verdict::not_worth_it:
            return text + (interval->high < 1
                               ? ": leave the experts in order, or fit to traffic that is more "
                                 "like the test."
                               : ": leave the experts in order, or try more slots.");
        default:
            return text + "; " + more_iterations(num_iterations, value, *interval, min_speedup) +
                   ".";
    }
}

void describe(Table& table, const HeldOut& held_out) {
    const auto add = [&](const std::string& key, std::int64_t value) {
        table.context.emplace_back(key, value);
    };
    table.context.emplace_back("placement", held_out.placement);
    table.context.emplace_back("fit", held_out.fitted.name);
    table.context.emplace_back("test", held_out.held_out.name);
    add("fit_start", held_out.fitted.iter_start);
    add("fit_stop", held_out.fitted.iter_stop());
    add("test_start", held_out.held_out.iter_start);
    add("test_stop", held_out.held_out.iter_stop());
    add("ep_size", held_out.held_out.ep_size);
    add("num_slots", held_out.held_out.num_slots());
    add("unbalanced_ep_size", held_out.unbalanced.ep_size);
    const auto part = [](const Subject& subject) {
        return subject.name + ", iterations " +
               range_text({subject.iter_start, subject.iter_stop()});
    };
    table.notes.push_back(held_out.placement + ", fitted to " + part(held_out.fitted) +
                          ", tested on " + part(held_out.held_out) + ".");
    std::string note = "Imbalance ratios on " + bins_text(held_out.held_out, Bins::ranks) +
                       " with " + std::to_string(held_out.held_out.num_slots()) +
                       " slots, per iteration and then averaged; unbalanced: ";
    note += held_out.unbalanced.num_slots() == held_out.unbalanced.num_experts
                ? "experts in order"
                : "the engine's default assignment of " +
                      std::to_string(held_out.unbalanced.num_slots()) + " slots";
    note += ", on the test";
    if (held_out.greedy)
        note += "; greedy: TensorRT-LLM's placement, fitted alike, on the test";
    table.notes.push_back(note + ".");
    if (const std::string split = split_note(held_out.held_out); !split.empty())
        table.notes.push_back(sentence(split));
    table.notes.push_back(
        "Speed-up: of the fullest rank, (1 + unbalanced) / (1 + held-out), at equally many tokens "
        "per rank.");
}

// Which layers the placement makes worse than experts in order; empty where none.
std::string worse_note(const Figures& figures, const std::vector<int>& layers) {
    int num_worse = 0;
    int num_known = 0;
    std::size_t worst = 0;
    const auto loss = [&](std::size_t layer) {
        return figures.held_out.summaries[layer].imbalance_ratio -
               figures.unbalanced.summaries[layer].imbalance_ratio;
    };
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        if (!figures.is_known(layer))
            continue;
        ++num_known;
        if (loss(layer) <= 0)
            continue;
        if (num_worse++ == 0 || loss(layer) > loss(worst))
            worst = layer;
    }
    if (num_worse == 0)
        return {};
    return std::to_string(num_worse) + " of " + counted(num_known, "layer") +
           " get worse than without it, most of all layer " + std::to_string(layers[worst]) + ": " +
           fixed(figures.unbalanced.summaries[worst].imbalance_ratio, 3) + " -> " +
           fixed(figures.held_out.summaries[worst].imbalance_ratio, 3) + ".";
}

// Under placements; exact where the source ranks' counts tell it.
Subject under(const ExpertStatistics& statistics,
              const std::string& name,
              const std::vector<Placement>& placements) {
    ReplicaReplay replay(placements, statistics.num_experts, statistics.iter_start,
                         statistics.num_iterations);
    if (statistics.num_sources != statistics.ep_size)
        return projected_subject(statistics, name, placements);
    for (int i = 0; i < statistics.num_iterations; ++i)
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            for (int source = 0; source < statistics.num_sources; ++source)
                replay.add_counts(statistics.iter_start + i, layer, source,
                                  statistics.row(i, layer, source));
    return replayed_subject(statistics, name, replay);
}

}  // namespace

void check_range(const IterationRange& range,
                 const IterationRange& recorded,
                 const std::string& name) {
    if (range.start < recorded.start || range.stop > recorded.stop)
        throw Error(name + ": holds iterations " + range_text(recorded) + " (half open), not " +
                    range_text(range) + "; choose --fit and --test from these");
}

bool overlap(const IterationRange& a, const IterationRange& b) {
    return a.start < b.stop && b.start < a.stop;
}

HeldOutRanges split_iterations(const IterationRange& recorded,
                               const std::optional<IterationRange>& fit,
                               const std::optional<IterationRange>& test) {
    for (const std::optional<IterationRange>& range : {fit, test})
        if (range)
            check_range(*range, recorded, "statistics");
    if (fit && test)
        return {*fit, *test};
    if (fit)
        return {*fit, rest_of(recorded, *fit)};
    if (test)
        return {rest_of(recorded, *test), *test};
    if (recorded.stop - recorded.start < 2)
        throw Error(
            "iterations " + range_text(recorded) +
            ": a single one cannot be fitted to and tested on; record more, or give a second "
            "recording");
    const std::int64_t middle = recorded.start + (recorded.stop - recorded.start) / 2;
    return {{recorded.start, middle}, {middle, recorded.stop}};
}

HeldOut plan_held_out(const HeldOutPart& fit,
                      const HeldOutPart& test,
                      const Subject& unbalanced,
                      const PlanRequest& request,
                      ThreadPool& threads) {
    check_alike(fit, test);
    const ExpertStatistics fit_part = iterations_of(*fit.statistics, fit.range);
    const ExpertStatistics test_part = iterations_of(*test.statistics, test.range);
    if (std::all_of(fit_part.counts.begin(), fit_part.counts.end(),
                    [](std::int64_t count) { return count == 0; }))
        throw Error(fit.name + ": holds no tokens in iterations " + range_text(fit.range) +
                    ", so that there is nothing to fit to; choose others with --fit");
    const std::vector<Placement> placements = plan(fit_part, request, threads);
    PlanRequest greedy = request;
    greedy.algorithm = Algorithm::greedy;
    HeldOut result;
    result.placement = "eplb-gen's placement";
    result.unbalanced = iterations_of(unbalanced, test.range);
    result.fitted = under(fit_part, fit.name, placements);
    result.held_out = under(test_part, test.name, placements);
    result.greedy = under(test_part, test.name, plan(fit_part, greedy, threads));
    return result;
}

Table held_out_table(const HeldOut& held_out, double min_speedup, ThreadPool& threads) {
    const std::vector<int>& layers = held_out.held_out.layers;
    const auto figures_of = [&](const Subject& subject) {
        return iteration_figures(subject, layers, Bins::ranks, threads);
    };
    Figures figures;
    figures.fitted = figures_of(held_out.fitted).summaries;
    if (held_out.greedy)
        figures.greedy = figures_of(*held_out.greedy).summaries;
    figures.unbalanced = figures_of(held_out.unbalanced);
    figures.held_out = figures_of(held_out.held_out);

    Table table;
    table.title = "Held out:";
    table.columns = {{"layer", "layer"},
                     {"unbalanced", "unbalanced"},
                     {"fitted", "fitted"},
                     {"held_out", "held-out"}};
    std::vector<const std::vector<LoadSummary>*> sides = {
        &figures.unbalanced.summaries, &figures.fitted, &figures.held_out.summaries};
    if (held_out.greedy) {
        table.columns.push_back({"greedy", "greedy"});
        sides.push_back(&figures.greedy);
    }
    table.columns.push_back({"speedup", "speedup"});
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        std::vector<Cell> row = {static_cast<std::int64_t>(layers[layer])};
        for (const std::vector<LoadSummary>* const side : sides)
            row.emplace_back((*side)[layer].num_iterations > 0 ? (*side)[layer].imbalance_ratio
                                                               : kUnknown);
        row.emplace_back(figures.is_known(layer)
                             ? speedup(figures.unbalanced.summaries[layer].imbalance_ratio,
                                       figures.held_out.summaries[layer].imbalance_ratio)
                             : kUnknown);
        table.rows.push_back(std::move(row));
    }
    table.average = {std::string("average")};
    for (const std::vector<LoadSummary>* const side : sides) {
        const LoadSummary mean = average(*side);
        table.average.emplace_back(mean.num_iterations > 0 ? mean.imbalance_ratio : kUnknown);
    }
    const double value = total_speedup(figures);
    table.average.emplace_back(value);

    const std::optional<Interval> interval = speedup_interval(figures);
    const Verdict verdict = verdict_of(held_out, interval, min_speedup);
    describe(table, held_out);
    table.context.emplace_back("speedup_low", interval ? interval->low : kUnknown);
    table.context.emplace_back("speedup_high", interval ? interval->high : kUnknown);
    table.context.emplace_back("min_speedup", min_speedup);
    table.context.emplace_back("verdict", name_of(verdict));
    if (const std::string worse = worse_note(figures, layers); !worse.empty())
        table.notes.push_back(worse);
    table.notes.push_back(verdict_note(held_out, verdict, value, interval, min_speedup));
    return table;
}

}  // namespace eplb
