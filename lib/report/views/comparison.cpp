#include "lib/report/views/comparison.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/not_known.h"
#include "lib/base/setting.h"
#include "lib/base/text.h"
#include "lib/report/views/common_layers.h"
#include "lib/report/views/time_change.h"

namespace eplb {
namespace {

void describe(Table& table, const MeasuredSubject& measured, const std::string& number) {
    const Subject& subject = *measured.subject;
    const auto add = [&](const std::string& key, Cell value) {
        table.context.emplace_back(key + "_" + number, std::move(value));
    };
    add("name", subject.name);
    add("num_bins", measured.num_bins());
    add("iter_start", subject.iter_start);
    add("iter_stop", subject.iter_stop());
    add("replica_split", split_name(subject.split));
    const std::string split = split_note(subject);
    table.notes.emplace_back(
        number + ": " + subject.name + ", " + bins_text(subject, measured.bins) + ", iterations " +
            range_text(subject.iterations()) + (split.empty() ? "" : "; ") + split + ".",
        Note::Kind::number);
}

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
        row.emplace_back(imbalances.front() > 0 ? delta / imbalances.front() : kNotKnown);
        row.emplace_back(marks[i]);
    }
    return row;
}

std::vector<TableColumn> columns_of(int num_subjects) {
    std::vector<TableColumn> columns = {{"layer", "layer"}};
    for (int i = 1; i <= num_subjects; ++i)
        columns.push_back(
            {"imbalance_ratio_" + std::to_string(i), "imbalance-ratio-" + std::to_string(i)});
    for (int i = 2; i <= num_subjects; ++i) {
        const std::string number = std::to_string(i);
        columns.push_back({"delta_" + number, "delta-" + number});
        columns.push_back({"change_" + number, "change-" + number});
        columns.push_back({"significant_" + number, "~" + number});
    }
    return columns;
}

std::string layer_text(const Comparison& comparison, int layer, int side) {
    return "layer " + std::to_string(comparison.layers()[layer]) + ": " +
           fixed(comparison.imbalance(0, layer), 3) + " -> " +
           fixed(comparison.imbalance(side, layer), 3);
}

// " (95 % interval of the difference: …)"; empty where it is not known.
std::string interval_text(const Interval& interval, const std::string& where_it_holds_0) {
    if (std::isnan(interval.low))
        return "";
    return " (95 % interval of the difference: " + fixed(interval.low, 3) + " to " +
           fixed(interval.high, 3) + (interval.contains(0) ? ", " + where_it_holds_0 : "") + ")";
}

Note verdict(const Comparison& comparison, int side, const Interval& interval) {
    std::string text = "average imbalance " + fixed(comparison.average_imbalance(0), 3) + " -> " +
                       fixed(comparison.average_imbalance(side), 3) +
                       interval_text(interval, "no significant change");
    if (comparison.has_measured_layers()) {
        const int before = comparison.worst_layer(0);
        const int after = comparison.worst_layer(side);
        text += "; worst " + layer_text(comparison, before, side);
        if (after != before)
            text += "; worst afterwards, " + layer_text(comparison, after, side);
    }
    const std::string headline = "1 -> " + std::to_string(side + 1) + ": " + text + ".";
    Note note(comparison.num_sides() > 2 ? headline : sentence(text), Note::Kind::verdict);
    note.headline = headline;
    return note;
}

// Of several others, the one with the least imbalance against the next.
Note best_verdict(const Comparison& comparison) {
    std::vector<int> others;
    for (int side = 1; side < comparison.num_sides(); ++side)
        others.push_back(side);
    std::stable_sort(others.begin(), others.end(), [&](int a, int b) {
        return comparison.average_imbalance(a) < comparison.average_imbalance(b);
    });
    const auto text_of = [&](int side) {
        return std::to_string(side + 1) + " with " + fixed(comparison.average_imbalance(side), 3);
    };
    return Note("Least imbalance: " + text_of(others[0]) + ", before " + text_of(others[1]) +
                    interval_text(comparison.average_interval(others[1], others[0]),
                                  "which may be chance") +
                    ".",
                Note::Kind::verdict);
}

// How to read the columns; the marks of all rows tell which of the signs there are.
void add_notes(Table& table,
               const Comparison& comparison,
               const std::vector<std::string>& marks,
               Pairing pairing) {
    table.notes.emplace_back(
        "Imbalance ratios, over the bins of an iteration and then averaged over iterations; delta "
        "and change are against 1.");
    const auto num_unknown = std::count(marks.begin(), marks.end(), "?");
    if (num_unknown < static_cast<std::ptrdiff_t>(marks.size()))
        table.notes.emplace_back(
            std::string("~ no significant change: the 95 % interval of the difference holds 0 "
                        "(block bootstrap over iterations, ") +
            (pairing == Pairing::paired ? "paired)" : "each recording by itself)") +
            "; of 20 unchanged layers about one shows a change by chance.");
    if (num_unknown > 0)
        table.notes.emplace_back("? too few iterations with tokens for an interval: record " +
                                 std::to_string(kLeastIterations) + " or more.");
    if (pairing == Pairing::paired)
        table.notes.emplace_back(fitted_note());
    const int first = comparison.subject(0).num_bins();
    for (int side = 1; side < comparison.num_sides(); ++side)
        if (comparison.subject(side).num_bins() != first) {
            table.notes.emplace_back("The numbers of " + comparison.subject(side).bin_name() +
                                     "s differ: the same load is less even over more of them.");
            break;
        }
}

// What the layers that all have take, each against the first.
void add_times(Table& table,
               std::span<const TimedSubject> timed,
               const std::vector<int>& layer_ids,
               Pairing pairing) {
    table.context.emplace_back("profile", timed.front().gpu.profile.name);
    for (std::size_t side = 1; side < timed.size(); ++side) {
        const TimeChange change = time_change(timed.front(), timed[side], layer_ids, pairing);
        const std::string number = std::to_string(side + 1);
        if (side == 1)
            table.context.emplace_back("moe_time_us_1", change.before_us);
        table.context.emplace_back("moe_time_us_" + number, change.after_us);
        const Interval unknown = {kNotKnown, kNotKnown};
        const Interval difference = change.difference.value_or(unknown);
        table.context.emplace_back("moe_time_delta_" + number + "_low", difference.low);
        table.context.emplace_back("moe_time_delta_" + number + "_high", difference.high);
        if (std::isnan(change.before_us) || std::isnan(change.after_us))
            continue;
        const std::string text = time_change_text(timed.front(), timed[side],
                                                  static_cast<int>(layer_ids.size()), change);
        Note note(timed.size() > 2 ? "1 -> " + number + ": " + text + "." : sentence(text),
                  Note::Kind::verdict);
        note.headline = "1 -> " + number + ": " + text + ".";
        table.notes.push_back(std::move(note));
    }
}

// "256 experts, top-8", as far as it is known
std::string model_text(const Subject& subject) {
    return std::to_string(subject.num_experts) + " experts" +
           (subject.top_k > 0 ? ", top-" + std::to_string(subject.top_k) : "");
}

void check_same_model(std::span<const MeasuredSubject* const> subjects) {
    const Subject& first = *subjects.front()->subject;
    for (const MeasuredSubject* const measured : subjects) {
        const Subject& other = *measured->subject;
        const bool has_other_experts = other.knows_experts() && first.knows_experts() &&
                                       other.num_experts != first.num_experts;
        const bool has_other_top_k =
            other.top_k > 0 && first.top_k > 0 && other.top_k != first.top_k;
        if (has_other_experts || has_other_top_k)
            throw Error(other.name + ": has " + model_text(other) + ", but " + first.name +
                        " has " + model_text(first) + "; compare recordings of one model");
    }
}

}  // namespace

std::string fitted_note() {
    return "A config looks better than it is on iterations that it was fitted to; " +
           setting("view") + " held_out measures it on others.";
}

Table comparison_table(std::span<const MeasuredSubject* const> subjects,
                       Pairing pairing,
                       std::span<const TimedSubject> timed) {
    check_same_model(subjects);
    const Comparison comparison(subjects, pairing);
    const int num_sides = comparison.num_sides();

    Table table;
    table.title = "Comparison:";
    table.columns = columns_of(num_sides);
    std::vector<std::string> all_marks;
    for (int layer = 0; layer < static_cast<int>(comparison.layers().size()); ++layer) {
        std::vector<double> imbalances = {comparison.imbalance(0, layer)};
        std::vector<std::string> marks = {""};
        for (int side = 1; side < num_sides; ++side) {
            imbalances.push_back(comparison.imbalance(side, layer));
            marks.push_back(mark(comparison.layer_interval(side, layer)));
            all_marks.push_back(marks.back());
        }
        table.rows.push_back(make_row(comparison.layers()[layer], imbalances, marks));
    }

    std::vector<double> imbalances = {comparison.average_imbalance(0)};
    std::vector<std::string> marks = {""};
    std::vector<Note> verdicts;
    describe(table, comparison.subject(0), "1");
    for (int side = 1; side < num_sides; ++side) {
        const std::string number = std::to_string(side + 1);
        const Interval interval = comparison.average_interval(side);
        imbalances.push_back(comparison.average_imbalance(side));
        marks.push_back(mark(interval));
        describe(table, comparison.subject(side), number);
        table.context.emplace_back("delta_" + number + "_low", interval.low);
        table.context.emplace_back("delta_" + number + "_high", interval.high);
        verdicts.push_back(verdict(comparison, side, interval));
    }
    table.average = make_row("average", imbalances, marks);
    add_notes(table, comparison, all_marks, pairing);
    if (const std::string missing = missing_layers_note(subjects_of(subjects)); !missing.empty())
        table.notes.emplace_back(missing);
    table.notes.insert(table.notes.end(), verdicts.begin(), verdicts.end());
    if (num_sides > 2 && comparison.has_measured_layers())
        table.notes.push_back(best_verdict(comparison));
    if (!timed.empty())
        add_times(table, timed, comparison.layers(), pairing);
    return table;
}

}  // namespace eplb
