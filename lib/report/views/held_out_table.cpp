#include "lib/report/views/held_out_table.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/not_known.h"
#include "lib/base/setting.h"
#include "lib/base/text.h"
#include "lib/report/measured_subject.h"
#include "lib/report/views/bootstrap.h"
#include "lib/report/views/common_layers.h"
#include "lib/report/views/time_change.h"
#include "lib/report/views/time_table.h"

namespace eplb {
namespace {

// Nobody records more iterations than this to learn of a speed-up.
constexpr double kMostIterations = 1e6;

// What the table is made of, over ranks.
struct Figures {
    std::vector<int> layers;  // ids
    MeasuredSubject unbalanced;
    MeasuredSubject fitted;
    MeasuredSubject held_out;
    std::optional<MeasuredSubject> greedy;
    // of the test; without a GPU none
    std::optional<TimedSubject> unbalanced_time;
    std::optional<TimedSubject> held_out_time;
    std::optional<TimedSubject> greedy_time;

    int num_layers() const { return static_cast<int>(layers.size()); }
    bool is_timed() const { return unbalanced_time.has_value(); }
    bool is_known(int layer) const { return unbalanced.layer_of(layers[layer]).has_tokens(); }
    // Of a layer by its position; NaN without tokens.
    double imbalance(const MeasuredSubject& side, int layer) const {
        const LoadSummary& summary = side.layer_of(layers[layer]).summary;
        return summary.num_iterations > 0 ? summary.imbalance_ratio : kNotKnown;
    }
    double time_us(const TimedSubject& side, int layer) const {
        const LayerTimeSummary& summary = side.summaries[side.position_of(layers[layer])];
        return summary.num_iterations > 0 ? summary.time_us : kNotKnown;
    }
};

Figures measure_all(const HeldOut& held_out, const GpuCost* gpu, ThreadPool& threads) {
    const auto measured = [&](const Subject& subject) {
        return measure(subject, Bins::ranks, threads);
    };
    Figures figures{held_out.held_out.layers,
                    measured(held_out.unbalanced),
                    measured(held_out.fitted),
                    measured(held_out.held_out),
                    {},
                    {},
                    {},
                    {}};
    if (held_out.greedy)
        figures.greedy = measured(*held_out.greedy);
    if (gpu == nullptr)
        return figures;
    constexpr int kNoTopK = 0;  // tokens per second are not asked for
    figures.unbalanced_time = time_subject(held_out.unbalanced, *gpu, kNoTopK, threads);
    figures.held_out_time = time_subject(held_out.held_out, *gpu, kNoTopK, threads);
    if (held_out.greedy)
        figures.greedy_time = time_subject(*held_out.greedy, *gpu, kNoTopK, threads);
    return figures;
}

// before / after of the layers' sums, from what gives each layer's.
template <typename Before, typename After>
double total_ratio(const Figures& figures, const Before& before, const After& after) {
    double sum_before = 0;
    double sum_after = 0;
    for (int layer = 0; layer < figures.num_layers(); ++layer) {
        if (!figures.is_known(layer))
            continue;
        sum_before += before(layer);
        sum_after += after(layer);
    }
    return sum_after > 0 ? sum_before / sum_after : kNotKnown;
}

double held_out_token_ratio(const Figures& figures) {
    return total_ratio(
        figures, [&](int layer) { return 1 + figures.imbalance(figures.unbalanced, layer); },
        [&](int layer) { return 1 + figures.imbalance(figures.held_out, layer); });
}

double total_speedup(const Figures& figures) {
    return total_ratio(
        figures, [&](int layer) { return figures.time_us(*figures.unbalanced_time, layer); },
        [&](int layer) { return figures.time_us(*figures.held_out_time, layer); });
}

// What the verdict goes by.
double total_gain(const Figures& figures) {
    return figures.is_timed() ? total_speedup(figures) : held_out_token_ratio(figures);
}

std::optional<Interval> gain_interval(const Figures& figures) {
    const IterationSeries unbalanced = figures.is_timed()
                                           ? time_series(*figures.unbalanced_time, figures.layers)
                                           : imbalance_series(figures.unbalanced, figures.layers);
    for (int layer = 0; layer < figures.num_layers(); ++layer)
        if (figures.is_known(layer) && num_measured(unbalanced, layer) < kLeastIterations)
            return {};
    if (num_measured(unbalanced) < kLeastIterations)
        return {};
    const ResampledMeans before = resample_means(unbalanced, 0);
    const ResampledMeans after =
        resample_means(figures.is_timed() ? time_series(*figures.held_out_time, figures.layers)
                                          : imbalance_series(figures.held_out, figures.layers),
                       0);
    const double mean = figures.is_timed() ? 0 : 1;  // that an imbalance ratio is above
    std::vector<double> gains;
    gains.reserve(kNumResamples);
    for (int resample = 0; resample < kNumResamples; ++resample)
        gains.push_back(total_ratio(
            figures, [&](int layer) { return mean + before.mean(resample, layer); },
            [&](int layer) { return mean + after.mean(resample, layer); }));
    return percentile_interval(std::move(gains), before.num_blocks);
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

// How many iterations would set the interval apart from min_speedup, if the gain stayed as it
// is: an interval narrows with the root of their number.
std::string more_iterations(int num_iterations,
                            double value,
                            const Interval& interval,
                            double min_speedup) {
    const double margin = value > min_speedup ? value - interval.low : interval.high - value;
    const double needed = num_iterations * std::pow(margin / (value - min_speedup), 2);
    if (!(needed < kMostIterations))
        return "the gain is too near to " + setting("min_speedup") + " for any recording to tell";
    // never fewer than there are, and no more digits than such a guess has
    const double rounding = std::pow(10, std::max(0.0, std::floor(std::log10(needed)) - 1));
    const double rounded = std::ceil(std::max(needed, num_iterations + 1.0) / rounding) * rounding;
    return "about " + fixed(rounded, 0) +
           " iterations in the test would tell: record more, or set " + setting("min_speedup") +
           " to what matters";
}

// What it is that the placement gains.
std::string gain_text(const Figures& figures, double value) {
    if (!figures.is_timed())
        return "the fullest rank has " + fixed(value, 3) + " times fewer tokens";
    return "the experts take " + time_text(figures.unbalanced_time->mean_us) + " -> " +
           time_text(figures.held_out_time->mean_us) + " an iteration on " +
           figures.held_out_time->gpu.profile.name + ", " + fixed(value, 3) + " times as fast";
}

std::string verdict_note(const HeldOut& held_out,
                         const Figures& figures,
                         Verdict verdict,
                         double value,
                         const std::optional<Interval>& interval,
                         double min_speedup) {
    if (held_out.fit_is_assumed)
        return "Warning: which iterations the config was fitted to is not known, so that nothing "
               "here is sure to be held out, and there is no verdict; say it with " +
               setting("fit") + ", or test on a second recording.";
    if (verdict == Verdict::none)
        return "Warning: the test overlaps the fit: no held-out figure, and no verdict; choose "
               "ranges apart with " +
               setting("fit") + " and " + setting("test") + ".";
    const int num_iterations = held_out.held_out.num_iterations;
    std::string text =
        "Verdict: " + name_of(verdict) + ". On traffic like the test " + gain_text(figures, value);
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
        return subject.name + ", iterations " + range_text(subject.iterations());
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
        "Token-ratio: of the fullest rank, (1 + unbalanced) / (1 + held-out), at equally many "
        "tokens per rank.");
}

// Which layers the placement makes worse than experts in order; empty where none.
std::string worse_note(const Figures& figures) {
    int num_worse = 0;
    int num_known = 0;
    int worst = 0;
    const auto loss = [&](int layer) {
        return figures.imbalance(figures.held_out, layer) -
               figures.imbalance(figures.unbalanced, layer);
    };
    for (int layer = 0; layer < figures.num_layers(); ++layer) {
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
           " get worse than without it, most of all layer " +
           std::to_string(figures.layers[worst]) + ": " +
           fixed(figures.imbalance(figures.unbalanced, worst), 3) + " -> " +
           fixed(figures.imbalance(figures.held_out, worst), 3) + ".";
}

double average_imbalance(const Figures& figures, const MeasuredSubject& side) {
    std::vector<LoadSummary> summaries;
    for (const int layer : figures.layers)
        summaries.push_back(side.layer_of(layer).summary);
    const LoadSummary mean = average(summaries);
    return mean.num_iterations > 0 ? mean.imbalance_ratio : kNotKnown;
}

// A mean over layers that have tokens.
double mean_time_us(const TimedSubject& side) {
    double sum = 0;
    int count = 0;
    for (const LayerTimeSummary& layer : side.summaries)
        if (layer.num_iterations > 0) {
            sum += layer.time_us;
            ++count;
        }
    return count > 0 ? sum / count : kNotKnown;
}

void add_held_out_times(Table& table, const Figures& figures) {
    std::vector<const TimedSubject*> sides = {&*figures.unbalanced_time, &*figures.held_out_time};
    table.columns.push_back({"time_us_unbalanced", "us-unbalanced", 1});
    table.columns.push_back({"time_us_held_out", "us-held-out", 1});
    if (figures.greedy_time) {
        table.columns.push_back({"time_us_greedy", "us-greedy", 1});
        sides.push_back(&*figures.greedy_time);
    }
    table.columns.push_back({"speedup", "speedup"});
    for (int layer = 0; layer < figures.num_layers(); ++layer) {
        for (const TimedSubject* const side : sides)
            table.rows[layer].emplace_back(figures.time_us(*side, layer));
        table.rows[layer].emplace_back(figures.time_us(*sides[0], layer) /
                                       figures.time_us(*sides[1], layer));
    }
    for (const TimedSubject* const side : sides)
        table.average.emplace_back(mean_time_us(*side));
    table.average.emplace_back(total_speedup(figures));
}

// Columns, rows and the average.
Table figures_table(const Figures& figures) {
    Table table;
    table.title = "Held out:";
    table.columns = {{"layer", "layer"},
                     {"unbalanced", "unbalanced"},
                     {"fitted", "fitted"},
                     {"held_out", "held-out"}};
    std::vector<const MeasuredSubject*> sides = {&figures.unbalanced, &figures.fitted,
                                                 &figures.held_out};
    if (figures.greedy) {
        table.columns.push_back({"greedy", "greedy"});
        sides.push_back(&*figures.greedy);
    }
    table.columns.push_back({"token_ratio", "token-ratio"});
    for (int layer = 0; layer < figures.num_layers(); ++layer) {
        std::vector<Cell>& row = table.rows.emplace_back();
        row.emplace_back(figures.layers[layer]);
        for (const MeasuredSubject* const side : sides)
            row.emplace_back(figures.imbalance(*side, layer));
        row.emplace_back(figures.is_known(layer)
                             ? (1 + figures.imbalance(figures.unbalanced, layer)) /
                                   (1 + figures.imbalance(figures.held_out, layer))
                             : kNotKnown);
    }
    table.average = {"average"};
    for (const MeasuredSubject* const side : sides)
        table.average.emplace_back(average_imbalance(figures, *side));
    table.average.emplace_back(held_out_token_ratio(figures));
    if (figures.is_timed())
        add_held_out_times(table, figures);
    return table;
}

}  // namespace

HeldOutReport held_out_table(const HeldOut& held_out,
                             double min_speedup,
                             ThreadPool& threads,
                             const GpuCost* gpu) {
    const Figures figures = measure_all(held_out, gpu, threads);
    const std::optional<Interval> interval = gain_interval(figures);
    HeldOutReport report;
    report.imbalance_ratio = average_imbalance(figures, figures.held_out);
    report.verdict = verdict_of(held_out, interval, min_speedup);
    report.table = figures_table(figures);
    Table& table = report.table;
    describe(table, held_out);
    const std::string gain = figures.is_timed() ? "speedup" : "token_ratio";
    table.context.emplace_back(gain + "_low", interval ? interval->low : kNotKnown);
    table.context.emplace_back(gain + "_high", interval ? interval->high : kNotKnown);
    table.context.emplace_back("min_speedup", min_speedup);
    table.context.emplace_back("verdict", name_of(report.verdict));
    if (figures.is_timed()) {
        table.context.emplace_back("profile", gpu->profile.name);
        table.notes.emplace_back("Microseconds are modelled for " + cost_text(*gpu) + ".");
    }
    if (const std::string worse = worse_note(figures); !worse.empty())
        table.notes.emplace_back(worse);
    if (!figures.is_timed())
        table.notes.emplace_back(tokens_alone_note());
    table.notes.emplace_back(
        verdict_note(held_out, figures, report.verdict, total_gain(figures), interval, min_speedup),
        Note::Kind::verdict);
    return report;
}

}  // namespace eplb
