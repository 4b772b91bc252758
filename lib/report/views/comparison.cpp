#include "lib/report/views/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/report/text/number_text.h"
#include "lib/report/views/bootstrap.h"
#include "lib/report/views/iteration_figures.h"

namespace eplb {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// One subject's side of a comparison.
struct Side {
    const Subject* subject = nullptr;
    IterationFigures figures;
    ResampledMeans resampled;            // empty where there are too few iterations
    std::vector<bool> is_well_measured;  // [layers]
};

Side make_side(const Subject& subject,
               std::span<const int> layers,
               Bins bins,
               std::uint64_t key,
               ThreadPool& threads) {
    Side side;
    side.subject = &subject;
    side.figures = iteration_figures(subject, layers, bins, threads);
    const IterationSeries& series = side.figures.imbalance_ratio;
    for (int layer = 0; layer < series.num_series; ++layer)
        side.is_well_measured.push_back(num_measured(series, layer) >= kLeastIterations);
    if (std::any_of(side.is_well_measured.begin(), side.is_well_measured.end(),
                    [](bool well) { return well; }))
        side.resampled = resample_means(series, key);
    return side;
}

void describe(Table& table, const Side& side, const std::string& number, Bins bins) {
    const Subject& subject = *side.subject;
    const auto add = [&](const std::string& key, Cell value) {
        table.context.emplace_back(key + "_" + number, std::move(value));
    };
    add("name", subject.name);
    add("num_bins", std::int64_t{num_bins(subject, bins)});
    add("iter_start", subject.iter_start);
    add("iter_stop", subject.iter_stop());
    add("replica_split", split_name(subject.split));
    const std::string split = split_note(subject);
    table.notes.push_back(number + ": " + subject.name + ", " + bins_text(subject, bins) +
                          ", iterations " + std::to_string(subject.iter_start) + "-" +
                          std::to_string(subject.iter_stop()) + (split.empty() ? "" : "; ") +
                          split + ".");
}

class Comparison {
  public:
    Comparison(std::span<const Subject* const> subjects,
               Bins bins,
               Pairing pairing,
               ThreadPool& threads)
        : layers_(common_layers(subjects)) {
        for (std::size_t i = 0; i < subjects.size(); ++i)
            sides_.push_back(make_side(*subjects[i], layers_, bins,
                                       pairing == Pairing::paired ? 0 : i, threads));
        for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
            bool has_tokens = true;
            for (const Side& side : sides_)
                has_tokens = has_tokens && side.figures.summaries[layer].num_iterations > 0;
            if (has_tokens)
                measured_.push_back(layer);
            has_tokens_.push_back(has_tokens);
        }
    }

    const std::vector<int>& layers() const { return layers_; }
    const std::vector<Side>& sides() const { return sides_; }

    double imbalance(std::size_t side, std::size_t layer) const {
        return has_tokens_[layer] ? sides_[side].figures.summaries[layer].imbalance_ratio
                                  : kUnknown;
    }

    double average_imbalance(std::size_t side) const {
        std::vector<LoadSummary> summaries;
        for (const std::size_t layer : measured_)
            summaries.push_back(sides_[side].figures.summaries[layer]);
        return summaries.empty() ? kUnknown : average(summaries).imbalance_ratio;
    }

    // where enough iterations tell of the layer on both sides
    bool has_layer_interval(std::size_t side, std::size_t layer) const {
        return has_tokens_[layer] && sides_.front().is_well_measured[layer] &&
               sides_[side].is_well_measured[layer];
    }

    bool has_interval(std::size_t side) const {
        return !measured_.empty() &&
               std::all_of(measured_.begin(), measured_.end(),
                           [&](std::size_t layer) { return has_layer_interval(side, layer); });
    }

    // of the difference to the first
    Interval layer_interval(std::size_t side, std::size_t layer) const {
        return interval(0, side, [&](const ResampledMeans& means, int resample) {
            return means.mean(resample, static_cast<int>(layer));
        });
    }

    Interval average_interval(std::size_t side) const { return average_interval(0, side); }

    Interval average_interval(std::size_t from, std::size_t to) const {
        return interval(from, to, [&](const ResampledMeans& means, int resample) {
            double sum = 0;
            for (const std::size_t layer : measured_)
                sum += means.mean(resample, static_cast<int>(layer));
            return sum / static_cast<double>(measured_.size());
        });
    }

    // the layer with the largest imbalance, the lowest id of several; some layer has tokens
    std::size_t worst_layer(std::size_t side) const {
        std::size_t worst = measured_.front();
        for (const std::size_t layer : measured_)
            if (imbalance(side, layer) > imbalance(side, worst))
                worst = layer;
        return worst;
    }

    bool has_measured_layers() const { return !measured_.empty(); }

  private:
    template <typename Figure>
    Interval interval(std::size_t from, std::size_t to, const Figure& figure) const {
        const ResampledMeans& first = sides_[from].resampled;
        const ResampledMeans& other = sides_[to].resampled;
        std::vector<double> differences;
        differences.reserve(kNumResamples);
        for (int resample = 0; resample < kNumResamples; ++resample)
            differences.push_back(figure(other, resample) - figure(first, resample));
        return percentile_interval(std::move(differences),
                                   std::min(first.num_blocks, other.num_blocks));
    }

    std::vector<int> layers_;
    std::vector<Side> sides_;
    std::vector<bool> has_tokens_;       // [layers], in every subject
    std::vector<std::size_t> measured_;  // those layers
};

std::string mark(const Interval& interval) {
    if (std::isnan(interval.low))
        return "?";
    return interval.contains(0) ? "~" : "";
}

// Imbalances of all subjects, then what follows from them.
std::vector<Cell> make_row(Cell label,
                           const std::vector<double>& imbalances,
                           const std::vector<std::string>& marks) {
    std::vector<Cell> row = {std::move(label)};
    row.insert(row.end(), imbalances.begin(), imbalances.end());
    for (std::size_t i = 1; i < imbalances.size(); ++i) {
        const double delta = imbalances[i] - imbalances.front();
        row.emplace_back(delta);
        row.emplace_back(imbalances.front() > 0 ? delta / imbalances.front() : kUnknown);
        row.emplace_back(marks[i]);
    }
    return row;
}

std::vector<TableColumn> columns_of(std::size_t num_subjects) {
    std::vector<TableColumn> columns = {{"layer", "layer"}};
    for (std::size_t i = 1; i <= num_subjects; ++i)
        columns.push_back(
            {"imbalance_ratio_" + std::to_string(i), "imbalance-ratio-" + std::to_string(i)});
    for (std::size_t i = 2; i <= num_subjects; ++i) {
        const std::string number = std::to_string(i);
        columns.push_back({"delta_" + number, "delta-" + number});
        columns.push_back({"change_" + number, "change-" + number});
        columns.push_back({"significant_" + number, "~" + number});
    }
    return columns;
}

std::string layer_text(const Comparison& comparison, std::size_t layer, std::size_t side) {
    return "layer " + std::to_string(comparison.layers()[layer]) + ": " +
           fixed(comparison.imbalance(0, layer), 3) + " -> " +
           fixed(comparison.imbalance(side, layer), 3);
}

std::string verdict(const Comparison& comparison, std::size_t side, const Interval& interval) {
    std::string text = comparison.sides().size() > 2
                           ? "1 -> " + std::to_string(side + 1) + ": average imbalance "
                           : "Average imbalance ";
    text += fixed(comparison.average_imbalance(0), 3) + " -> " +
            fixed(comparison.average_imbalance(side), 3);
    if (comparison.has_interval(side))
        text += " (95 % interval of the difference: " + fixed(interval.low, 3) + " to " +
                fixed(interval.high, 3) + (interval.contains(0) ? ", no significant change)" : ")");
    if (!comparison.has_measured_layers())
        return text + ".";
    const std::size_t before = comparison.worst_layer(0);
    const std::size_t after = comparison.worst_layer(side);
    text += "; worst " + layer_text(comparison, before, side);
    if (after != before)
        text += "; worst afterwards, " + layer_text(comparison, after, side);
    return text + ".";
}

// Of several others, the one with the least imbalance against the next.
std::string best_note(const Comparison& comparison) {
    std::vector<std::size_t> others;
    for (std::size_t side = 1; side < comparison.sides().size(); ++side)
        others.push_back(side);
    std::stable_sort(others.begin(), others.end(), [&](std::size_t a, std::size_t b) {
        return comparison.average_imbalance(a) < comparison.average_imbalance(b);
    });
    const auto text_of = [&](std::size_t side) {
        return std::to_string(side + 1) + " with " + fixed(comparison.average_imbalance(side), 3);
    };
    std::string text = "Least imbalance: " + text_of(others[0]) + ", before " + text_of(others[1]);
    if (comparison.has_interval(others[0]) && comparison.has_interval(others[1])) {
        const Interval interval = comparison.average_interval(others[1], others[0]);
        text += " (95 % interval of the difference: " + fixed(interval.low, 3) + " to " +
                fixed(interval.high, 3) + (interval.contains(0) ? ", which may be chance)" : ")");
    }
    return text + ".";
}

void add_notes(Table& table,
               const Comparison& comparison,
               const std::vector<std::string>& marks,
               Bins bins,
               Pairing pairing) {
    table.notes.emplace_back(
        "Imbalance ratios, over the bins of an iteration and then averaged over iterations; delta "
        "and change are against 1.");
    const auto any_is = [&](bool unknown) {
        return std::any_of(marks.begin(), marks.end(),
                           [&](const std::string& mark) { return (mark == "?") == unknown; });
    };
    if (any_is(false))
        table.notes.push_back(
            std::string("~ no significant change: the 95 % interval of the difference holds 0 "
                        "(block bootstrap over iterations, ") +
            (pairing == Pairing::paired ? "paired)" : "each recording by itself)") +
            "; of 20 unchanged layers about one shows a change by chance.");
    if (any_is(true))
        table.notes.push_back("? too few iterations with tokens for an interval: record " +
                              std::to_string(kLeastIterations) + " or more.");
    if (pairing == Pairing::paired)
        table.notes.push_back(fitted_note());
    const auto num_bins_of = [&](const Side& side) { return num_bins(*side.subject, bins); };
    const int first = num_bins_of(comparison.sides().front());
    for (const Side& side : comparison.sides())
        if (num_bins_of(side) != first) {
            table.notes.push_back("The numbers of " + bin_name(*side.subject, bins) +
                                  "s differ: the same load is less even over more of them.");
            break;
        }
}

// "256 experts, top-8", as far as it is known
std::string model_text(const Subject& subject) {
    return std::to_string(subject.num_experts) + " experts" +
           (subject.top_k > 0 ? ", top-" + std::to_string(subject.top_k) : "");
}

void check_same_model(std::span<const Subject* const> subjects) {
    const Subject& first = *subjects.front();
    for (const Subject* const other : subjects) {
        const bool has_other_experts = other->knows_experts() && first.knows_experts() &&
                                       other->num_experts != first.num_experts;
        const bool has_other_top_k =
            other->top_k > 0 && first.top_k > 0 && other->top_k != first.top_k;
        if (has_other_experts || has_other_top_k)
            throw Error(other->name + ": has " + model_text(*other) + ", but " + first.name +
                        " has " + model_text(first) + "; compare recordings of one model");
    }
}

}  // namespace

std::string fitted_note() {
    return "A config looks better than it is on iterations that it was fitted to; --view held_out "
           "measures it on others.";
}

Table comparison_table(std::span<const Subject* const> subjects,
                       Bins bins,
                       Pairing pairing,
                       ThreadPool& threads) {
    check_same_model(subjects);
    const Comparison comparison(subjects, bins, pairing, threads);
    const std::size_t num_sides = comparison.sides().size();
    const Interval unknown = {kUnknown, kUnknown};

    Table table;
    table.title = "Comparison:";
    table.columns = columns_of(num_sides);
    std::vector<std::string> all_marks;
    for (std::size_t layer = 0; layer < comparison.layers().size(); ++layer) {
        std::vector<double> imbalances = {comparison.imbalance(0, layer)};
        std::vector<std::string> marks = {""};
        for (std::size_t side = 1; side < num_sides; ++side) {
            imbalances.push_back(comparison.imbalance(side, layer));
            marks.push_back(mark(comparison.has_layer_interval(side, layer)
                                     ? comparison.layer_interval(side, layer)
                                     : unknown));
            all_marks.push_back(marks.back());
        }
        table.rows.push_back(
            make_row(static_cast<std::int64_t>(comparison.layers()[layer]), imbalances, marks));
    }

    std::vector<double> imbalances;
    std::vector<std::string> marks;
    std::vector<std::string> verdicts;
    for (std::size_t side = 0; side < num_sides; ++side) {
        const std::string number = std::to_string(side + 1);
        const Interval interval =
            side > 0 && comparison.has_interval(side) ? comparison.average_interval(side) : unknown;
        imbalances.push_back(comparison.average_imbalance(side));
        marks.push_back(mark(interval));
        describe(table, comparison.sides()[side], number, bins);
        if (side == 0)
            continue;
        table.context.emplace_back("delta_" + number + "_low", interval.low);
        table.context.emplace_back("delta_" + number + "_high", interval.high);
        verdicts.push_back(verdict(comparison, side, interval));
    }
    table.average = make_row(std::string("average"), imbalances, marks);
    add_notes(table, comparison, all_marks, bins, pairing);
    const std::string missing = missing_layers_note(subjects);
    if (!missing.empty())
        table.notes.push_back(missing);
    table.notes.insert(table.notes.end(), verdicts.begin(), verdicts.end());
    if (num_sides > 2 && comparison.has_measured_layers())
        table.notes.push_back(best_note(comparison));
    return table;
}

}  // namespace eplb
