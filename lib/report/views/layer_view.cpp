#include <algorithm>
#include <numeric>
#include <utility>

#include "lib/base/not_known.h"
#include "lib/base/text.h"
#include "lib/placement/route/load_summary.h"
#include "lib/report/views/time_change.h"
#include "lib/report/views/time_table.h"
#include "lib/report/views/views.h"

namespace eplb {
namespace {

constexpr std::size_t kNumHottest = 3;

// What the table says of a layer beside its summary.
struct Layer {
    double optimal_split = 0;  // imbalance ratio over ranks, where there are replicas
    int worst_bin = 0;         // with most tokens over all iterations
    double worst_load = 0;     // against the mean over bins; 0 without tokens
    IntegerList hottest;       // on the worst rank: experts, or slots where experts are not known
};

// An expert that stands on the rank twice counts once, with both slots' tokens.
IntegerList hottest_of(const Subject& subject, int layer, int rank) {
    const std::vector<double> totals = bin_totals(subject.slot_load[layer]);
    const int slots_per_rank = subject.num_slots() / subject.ep_size;
    std::vector<std::pair<double, std::int64_t>> experts;  // minus tokens, so that most come first
    for (int slot = rank * slots_per_rank; slot < (rank + 1) * slots_per_rank; ++slot) {
        const std::int64_t id =
            subject.knows_experts() ? subject.placements[layer].expert_ids[slot] : slot;
        const auto same = std::find_if(experts.begin(), experts.end(),
                                       [&](const auto& expert) { return expert.second == id; });
        if (same != experts.end())
            same->first -= totals[slot];
        else
            experts.emplace_back(-totals[slot], id);
    }
    std::sort(experts.begin(), experts.end());
    IntegerList ids;
    for (std::size_t i = 0; i < std::min(kNumHottest, experts.size()); ++i)
        if (experts[i].first < 0)
            ids.push_back(experts[i].second);
    return ids;
}

bool has_optimal_split(const MeasuredSubject& measured) {
    const ReplicaSplit split = measured.subject->split;
    return measured.bins == Bins::ranks && split != ReplicaSplit::recorded &&
           split != ReplicaSplit::none;
}

std::vector<Layer> look_into_layers(const MeasuredSubject& measured, ThreadPool& threads) {
    const Subject& subject = *measured.subject;
    std::vector<Layer> layers(measured.layers.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t i) {
        const std::vector<double>& totals = measured.layers[i].totals;
        const auto worst = std::max_element(totals.begin(), totals.end());
        const double sum = std::accumulate(totals.begin(), totals.end(), 0.0);
        layers[i].worst_bin = static_cast<int>(worst - totals.begin());
        layers[i].worst_load = sum > 0 ? *worst / sum * measured.num_bins() : 0;
        if (has_optimal_split(measured))
            layers[i].optimal_split =
                optimal_split_ratio(subject.expert_load[i], subject.placements[i]);
        if (measured.bins == Bins::ranks)
            layers[i].hottest = hottest_of(subject, static_cast<int>(i), layers[i].worst_bin);
    });
    return layers;
}

struct Figure {
    TableColumn column;
    double LoadSummary::*value;
};

const std::vector<Figure>& figures() {
    static const std::vector<Figure> kFigures = {
        {{"mean", "mean"}, &LoadSummary::mean},
        {{"std", "std"}, &LoadSummary::std},
        {{"imbalance_ratio", "imbalance-ratio"}, &LoadSummary::imbalance_ratio},
        {{"balancedness", "balancedness", 3}, &LoadSummary::balancedness},
        {{"p50", "p50", 3}, &LoadSummary::p50},
        {{"p90", "p90", 3}, &LoadSummary::p90},
        {{"p99", "p99", 3}, &LoadSummary::p99},
        {{"max", "max", 3}, &LoadSummary::max},
    };
    return kFigures;
}

// NaN where there are no tokens.
std::vector<Cell> figure_row(Cell label, const LoadSummary& summary) {
    std::vector<Cell> row = {std::move(label)};
    for (const Figure& figure : figures())
        row.emplace_back(summary.num_iterations > 0 ? summary.*figure.value : kNotKnown);
    return row;
}

// What the table comes to, for people.
std::string verdict(const MeasuredSubject& subject) {
    std::vector<const MeasuredLayer*> worst;
    for (const MeasuredLayer& layer : subject.layers)
        if (layer.has_tokens())
            worst.push_back(&layer);
    std::stable_sort(worst.begin(), worst.end(),
                     [](const MeasuredLayer* a, const MeasuredLayer* b) {
                         return a->summary.imbalance_ratio > b->summary.imbalance_ratio;
                     });
    worst.resize(std::min(worst.size(), kNumHottest));
    std::vector<int> ids;
    for (const MeasuredLayer* const layer : worst)
        ids.push_back(layer->layer);
    return "The fullest rank computes " + fixed(1 + subject.average.imbalance_ratio, 3) +
           " times the mean; worst " + (ids.size() == 1 ? "layer " : "layers ") +
           joined(ids, ", ") + ".";
}

// After the imbalance ratio, which it is the best of.
void add_optimal_split(Table& table,
                       const MeasuredSubject& subject,
                       const std::vector<Layer>& layers) {
    constexpr std::size_t kPlace = 4;
    table.columns.insert(table.columns.begin() + kPlace, {"optimal_split", "optimal-split"});
    std::vector<LoadSummary> optima;  // so that the average is that of the other columns
    for (std::size_t i = 0; i < layers.size(); ++i) {
        optima.push_back(subject.layers[i].summary);
        optima.back().imbalance_ratio = layers[i].optimal_split;
        table.rows[i].insert(table.rows[i].begin() + kPlace, optima.back().num_iterations > 0
                                                                 ? layers[i].optimal_split
                                                                 : kNotKnown);
    }
    table.average.insert(table.average.begin() + kPlace, average(optima).imbalance_ratio);
    table.notes.emplace_back(
        "Optimal-split: the imbalance ratio that the best division of each iteration's tokens "
        "among replicas could reach.");
}

Table table_of(const MeasuredSubject& measured, const char* title, const TableColumn& label) {
    Table table;
    table.title = title;
    table.columns = {label};
    for (const Figure& figure : figures())
        table.columns.push_back(figure.column);
    describe_subject(table, *measured.subject, measured.bins);
    return table;
}

}  // namespace

Table layer_table(const MeasuredSubject& measured, ThreadPool& threads, const TimedSubject* timed) {
    const Subject& subject = *measured.subject;
    const bool is_of_ranks = measured.bins == Bins::ranks;
    const std::vector<Layer> layers = look_into_layers(measured, threads);
    const std::string bin = measured.bin_name();
    Table table = table_of(measured, "Load statistics:", {"layer", "layer"});
    table.columns.push_back({"worst_" + bin, "worst-" + bin});
    table.columns.push_back({"worst_load", "load", 2});
    if (is_of_ranks) {
        const std::string id = subject.knows_experts() ? "experts" : "slots";
        table.columns.push_back({"hottest_" + id, "hottest-" + id});
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const MeasuredLayer& layer = measured.layers[i];
        std::vector<Cell> row = figure_row(layer.layer, layer.summary);
        if (layer.has_tokens()) {
            row.emplace_back(layers[i].worst_bin);
            row.emplace_back(layers[i].worst_load);
            if (is_of_ranks)
                row.emplace_back(layers[i].hottest);
        }
        row.resize(table.columns.size());
        table.rows.push_back(std::move(row));
    }
    table.average = figure_row("average", measured.average);
    table.average.resize(table.columns.size());  // the worst of a layer has no average
    table.notes.emplace_back("Over the " + bins_text(subject, measured.bins) +
                             " of an iteration, then averaged over iterations " +
                             range_text(subject.iterations()) +
                             "; p50 to max: imbalance ratios of iterations.");
    describe_split(table, subject);
    if (has_optimal_split(measured))
        add_optimal_split(table, measured, layers);
    if (is_of_ranks && measured.has_tokens()) {
        if (subject.ep_size > 1)
            table.notes.emplace_back(
                verdict(measured) + (timed == nullptr ? " " + tokens_alone_note() : ""),
                Note::Kind::verdict);
        if (timed != nullptr)
            table.notes.emplace_back(time_verdict(*timed), Note::Kind::verdict);
    }
    return table;
}

Table percentile_table(const MeasuredSubject& measured) {
    Table table = table_of(measured, "Percentiles over layers:", {"percentile", "percentile"});
    std::vector<std::vector<double>> sorted;  // [figures][layers with tokens]
    for (const Figure& figure : figures()) {
        sorted.emplace_back();
        for (const MeasuredLayer& layer : measured.layers)
            if (layer.has_tokens())
                sorted.back().push_back(layer.summary.*figure.value);
        std::sort(sorted.back().begin(), sorted.back().end());
    }
    for (const int percent : {0, 10, 25, 50, 75, 90, 95, 99, 100}) {
        table.rows.push_back({percent});
        for (const std::vector<double>& values : sorted)
            table.rows.back().emplace_back(percentile(values, percent));
    }
    table.average = figure_row("average", measured.average);
    table.notes.emplace_back("Of each column alone, over " +
                             counted(static_cast<int>(sorted.front().size()), "layer") +
                             "; low percentiles of balancedness are the bad ones.");
    describe_split(table, *measured.subject);
    return table;
}

}  // namespace eplb
