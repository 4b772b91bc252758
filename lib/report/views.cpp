#include "lib/report/views.h"

#include "lib/report/load_summary.h"

namespace eplb {
namespace {

LayerLoad bins_of(const Subject& subject, int layer, Bins bins) {
    return bins == Bins::ranks ? subject.rank_load_of(layer)
                               : subject.slot_load[static_cast<std::size_t>(layer)];
}

std::vector<Cell> summary_row(Cell label, const LoadSummary& summary) {
    return {std::move(label), summary.mean, summary.std, summary.imbalance_ratio};
}

bool has_replicas(const Subject& subject) {
    return subject.split != ReplicaSplit::recorded && subject.split != ReplicaSplit::none;
}

// A column; its average as that of the other ones, over the layers that have tokens.
void add_optimal_split(Table& table,
                       const Subject& subject,
                       const std::vector<LoadSummary>& summaries,
                       ThreadPool& threads) {
    std::vector<LoadSummary> optima = summaries;
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        const auto i = static_cast<std::size_t>(layer);
        optima[i].imbalance_ratio =
            optimal_split_ratio(subject.expert_load[i], subject.placements[i]);
    });
    table.columns.push_back({"optimal_split", "optimal-split"});
    for (std::size_t i = 0; i < optima.size(); ++i)
        table.rows[i].push_back(optima[i].imbalance_ratio);
    table.average.push_back(average(optima).imbalance_ratio);
    table.notes.push_back(
        "optimal-split: the imbalance ratio that the best division of each iteration's tokens "
        "among replicas could reach");
}

}  // namespace

void describe_subject(Table& table, const Subject& subject, Bins bins) {
    const bool slots = subject.split != ReplicaSplit::recorded || subject.ids == IdKind::slot;
    table.context.emplace_back("bins", std::string(bins == Bins::ranks ? "ranks"
                                                   : slots             ? "slots"
                                                                       : "experts"));
    table.context.emplace_back(
        "num_bins",
        static_cast<std::int64_t>(bins == Bins::ranks ? subject.ep_size : subject.num_slots()));
    table.context.emplace_back("ids", std::string(subject.ids == IdKind::slot ? "slot" : "expert"));
    table.context.emplace_back("num_experts", static_cast<std::int64_t>(subject.num_experts));
    table.context.emplace_back("top_k", static_cast<std::int64_t>(subject.top_k));
    table.context.emplace_back("iter_start", subject.iter_start);
    table.context.emplace_back("iter_stop", subject.iter_stop());
    if (subject.split != ReplicaSplit::recorded) {
        table.context.emplace_back("replica_split", split_name(subject.split));
        table.context.emplace_back("num_source_ranks",
                                   static_cast<std::int64_t>(subject.num_source_ranks));
        table.notes.push_back(split_note(subject));
    }
}

Table layer_table(const Subject& subject, Bins bins, ThreadPool& threads) {
    std::vector<LoadSummary> summaries(subject.layers.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        summaries[static_cast<std::size_t>(layer)] =
            summarize(bins_of(subject, static_cast<int>(layer), bins));
    });
    Table table;
    table.title = "Load statistics:";
    table.columns = {{"layer", "layer"},
                     {"mean", "mean"},
                     {"std", "std"},
                     {"imbalance_ratio", "imbalance-ratio"}};
    for (std::size_t i = 0; i < summaries.size(); ++i)
        table.rows.push_back(
            summary_row(static_cast<std::int64_t>(subject.layers[i]), summaries[i]));
    table.average = summary_row(std::string("average"), average(summaries));
    if (bins == Bins::ranks && has_replicas(subject))
        add_optimal_split(table, subject, summaries, threads);
    describe_subject(table, subject, bins);
    return table;
}

Table bin_table(const Subject& subject, Bins bins, ThreadPool& threads) {
    return layer_table(subject, bins, threads);
}

Table expert_table(const Subject& subject) {
    Table table;
    describe_subject(table, subject, Bins::slots);
    return table;
}

Table iteration_table(const Subject& subject, Bins bins, ThreadPool& threads) {
    return layer_table(subject, bins, threads);
}

Table percentile_table(const Subject& subject, Bins bins, ThreadPool& threads) {
    return layer_table(subject, bins, threads);
}

}  // namespace eplb
