#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "lib/placement/route/load_summary.h"
#include "lib/report/text/number_text.h"
#include "lib/report/views/views.h"

namespace eplb {
namespace {

constexpr std::size_t kNumHottest = 3;

// The bin with most tokens over all iterations.
struct WorstBin {
    std::size_t bin = 0;
    double load = 0;  // against the mean over bins; 0 without tokens
};

struct Layer {
    LoadSummary summary;
    double optimal_split = 0;  // imbalance ratio over ranks, where there are replicas
    WorstBin worst;
    IntegerList hottest;  // on the worst rank: experts, or slots where experts are not known
};

WorstBin worst_of(const std::vector<double>& totals) {
    const auto worst = std::max_element(totals.begin(), totals.end());
    const double sum = std::accumulate(totals.begin(), totals.end(), 0.0);
    return {static_cast<std::size_t>(worst - totals.begin()),
            sum > 0 ? *worst / sum * static_cast<double>(totals.size()) : 0};
}

// An expert that stands on the rank twice counts once, with both slots' tokens.
IntegerList hottest_of(const Subject& subject, std::size_t layer, std::size_t rank) {
    const std::vector<double> totals = bin_totals(subject.slot_load[layer]);
    const std::size_t slots_per_rank = totals.size() / static_cast<std::size_t>(subject.ep_size);
    std::vector<std::pair<double, std::int64_t>> experts;  // minus tokens, so that most come first
    for (std::size_t slot = rank * slots_per_rank; slot < (rank + 1) * slots_per_rank; ++slot) {
        const std::int64_t id = subject.knows_experts() ? subject.placements[layer].expert_ids[slot]
                                                        : static_cast<std::int64_t>(slot);
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

bool has_optimal_split(const Subject& subject, Bins bins) {
    return bins == Bins::ranks && subject.split != ReplicaSplit::recorded &&
           subject.split != ReplicaSplit::none;
}

std::vector<Layer> measure_layers(const Subject& subject, Bins bins, ThreadPool& threads) {
    std::vector<Layer> layers(subject.layers.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t index) {
        const auto i = static_cast<std::size_t>(index);
        const LayerLoad load = bins_of(subject, static_cast<int>(index), bins);
        layers[i].summary = summarize(load);
        layers[i].worst = worst_of(bin_totals(load));
        if (has_optimal_split(subject, bins))
            layers[i].optimal_split =
                optimal_split_ratio(subject.expert_load[i], subject.placements[i]);
        if (bins == Bins::ranks)
            layers[i].hottest = hottest_of(subject, i, layers[i].worst.bin);
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

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

// NaN where there are no tokens.
std::vector<Cell> figure_row(Cell label, const LoadSummary& summary) {
    std::vector<Cell> row = {std::move(label)};
    for (const Figure& figure : figures())
        row.emplace_back(summary.num_iterations > 0 ? summary.*figure.value : kUnknown);
    return row;
}

// What the table comes to, for people.
std::string verdict(const Subject& subject, const std::vector<Layer>& layers, double average) {
    std::vector<std::size_t> worst;
    for (std::size_t i = 0; i < layers.size(); ++i)
        if (layers[i].summary.num_iterations > 0)
            worst.push_back(i);
    std::stable_sort(worst.begin(), worst.end(), [&](std::size_t a, std::size_t b) {
        return layers[a].summary.imbalance_ratio > layers[b].summary.imbalance_ratio;
    });
    worst.resize(std::min(worst.size(), kNumHottest));
    std::string names;
    for (const std::size_t i : worst)
        names += (names.empty() ? "" : ", ") + std::to_string(subject.layers[i]);
    return "The fullest rank computes " + fixed(1 + average, 3) +
           " times the mean, so that perfect balance would make the MoE layers about " +
           fixed(1 + average, 3) + " times as fast; worst " +
           (worst.size() == 1 ? "layer " : "layers ") + names + ".";
}

LoadSummary average_of(const std::vector<Layer>& layers) {
    std::vector<LoadSummary> summaries;
    for (const Layer& layer : layers)
        summaries.push_back(layer.summary);
    return average(summaries);
}

// After the imbalance ratio, which it is the best of.
void add_optimal_split(Table& table, const std::vector<Layer>& layers) {
    constexpr std::size_t kPlace = 4;
    table.columns.insert(table.columns.begin() + kPlace, {"optimal_split", "optimal-split"});
    std::vector<LoadSummary> optima;  // so that the average is that of the other columns
    for (std::size_t i = 0; i < layers.size(); ++i) {
        table.rows[i].insert(table.rows[i].begin() + kPlace, layers[i].summary.num_iterations > 0
                                                                 ? layers[i].optimal_split
                                                                 : kUnknown);
        optima.push_back(layers[i].summary);
        optima.back().imbalance_ratio = layers[i].optimal_split;
    }
    table.average.insert(table.average.begin() + kPlace, average(optima).imbalance_ratio);
    table.notes.push_back(
        "Optimal-split: the imbalance ratio that the best division of each iteration's tokens "
        "among replicas could reach.");
}

Table table_of(const Subject& subject, Bins bins, const char* title, const TableColumn& label) {
    Table table;
    table.title = title;
    table.columns = {label};
    for (const Figure& figure : figures())
        table.columns.push_back(figure.column);
    describe_subject(table, subject, bins);
    return table;
}

}  // namespace

Table layer_table(const Subject& subject, Bins bins, ThreadPool& threads) {
    const std::vector<Layer> layers = measure_layers(subject, bins, threads);
    const std::string bin = bin_name(subject, bins);
    Table table = table_of(subject, bins, "Load statistics:", {"layer", "layer"});
    table.columns.push_back({"worst_" + bin, "worst-" + bin});
    table.columns.push_back({"worst_load", "load", 2});
    if (bins == Bins::ranks) {
        const std::string id = subject.knows_experts() ? "experts" : "slots";
        table.columns.push_back({"hottest_" + id, "hottest-" + id});
    }
    for (std::size_t i = 0; i < layers.size(); ++i) {
        std::vector<Cell> row =
            figure_row(static_cast<std::int64_t>(subject.layers[i]), layers[i].summary);
        if (layers[i].summary.num_iterations > 0) {
            row.emplace_back(static_cast<std::int64_t>(layers[i].worst.bin));
            row.emplace_back(layers[i].worst.load);
            if (bins == Bins::ranks)
                row.emplace_back(layers[i].hottest);
        }
        row.resize(table.columns.size());
        table.rows.push_back(std::move(row));
    }
    table.average = figure_row(std::string("average"), average_of(layers));
    table.average.resize(table.columns.size());  // the worst of a layer has no average
    table.notes.push_back("Over the " + counted(num_bins(subject, bins), bin) +
                          " of an iteration, then averaged over iterations " +
                          std::to_string(subject.iter_start) + "-" +
                          std::to_string(subject.iter_stop()) +
                          "; p50 to max: imbalance ratios of iterations.");
    describe_split(table, subject);
    if (has_optimal_split(subject, bins))
        add_optimal_split(table, layers);
    const LoadSummary average = average_of(layers);
    if (bins == Bins::ranks && subject.ep_size > 1 && average.num_iterations > 0)
        table.notes.push_back(verdict(subject, layers, average.imbalance_ratio));
    return table;
}

Table percentile_table(const Subject& subject, Bins bins, ThreadPool& threads) {
    const std::vector<Layer> layers = measure_layers(subject, bins, threads);
    Table table = table_of(subject, bins, "Percentiles over layers:", {"percentile", "percentile"});
    std::vector<std::vector<double>> sorted;  // [figures][layers with tokens]
    for (const Figure& figure : figures()) {
        sorted.emplace_back();
        for (const Layer& layer : layers)
            if (layer.summary.num_iterations > 0)
                sorted.back().push_back(layer.summary.*figure.value);
        std::sort(sorted.back().begin(), sorted.back().end());
    }
    for (const int percent : {0, 10, 25, 50, 75, 90, 95, 99, 100}) {
        table.rows.push_back({static_cast<std::int64_t>(percent)});
        for (const std::vector<double>& values : sorted)
            table.rows.back().emplace_back(percentile(values, percent));
    }
    table.average = figure_row(std::string("average"), average_of(layers));
    table.notes.push_back("Of each column alone, over " +
                          counted(static_cast<int>(sorted.front().size()), "layer") +
                          "; low percentiles of balancedness are the bad ones.");
    describe_split(table, subject);
    return table;
}

}  // namespace eplb
