#include "lib/report/views/traffic_table.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>
#include <string>
#include <utility>

#include "lib/base/grid.h"
#include "lib/base/not_known.h"
#include "lib/base/text.h"
#include "lib/placement/plan/evaluation.h"
#include "lib/report/views/views.h"

namespace eplb {
namespace {

constexpr double kMegabyte = 1e6;

TableColumn traffic_column(const std::string& key, int decimals = -1) {
    std::string header = key;
    std::replace(header.begin(), header.end(), '_', '-');
    return {key, header, decimals};
}

Placement slots_in_order(const Subject& subject) {
    Placement placement{subject.ep_size, subject.num_slots() / subject.ep_size, {}};
    placement.expert_ids.resize(placement.num_slots());
    std::iota(placement.expert_ids.begin(), placement.expert_ids.end(), 0);
    return placement;
}

// The iterations in which any of the layers has tokens.
std::int64_t num_iterations_with_tokens(std::span<const ReplayedTraffic> layers) {
    std::vector<std::int64_t> num_tokens;  // [num_iterations]
    for (const ReplayedTraffic& layer : layers) {
        num_tokens.resize(layer.num_tokens.size());
        std::transform(num_tokens.begin(), num_tokens.end(), layer.num_tokens.begin(),
                       num_tokens.begin(), std::plus<>());
    }
    return static_cast<std::int64_t>(num_tokens.size()) -
           std::count(num_tokens.begin(), num_tokens.end(), 0);
}

// 10^6 bytes, mean over iterations with tokens and source ranks.
double mb_sent_per_rank(const ReplayedTraffic& layer, double bytes_per_token) {
    const std::int64_t num_iterations = num_iterations_with_tokens(std::span(&layer, 1));
    if (num_iterations == 0)
        return kNotKnown;
    const std::int64_t sends =
        layer.total_sends() - (layer.knows_own_rank() ? layer.sends_to_own_rank() : 0);
    return static_cast<double>(sends) / static_cast<double>(num_iterations) / layer.num_sources *
           bytes_per_token / kMegabyte;
}

double sum_of_layers(std::span<const ReplayedTraffic> layers, double bytes_per_token) {
    double sum = 0;
    for (const ReplayedTraffic& layer : layers)
        if (layer.total_tokens() > 0)
            sum += mb_sent_per_rank(layer, bytes_per_token);
    return sum;
}

void describe(Table& table,
              const Subject& subject,
              std::span<const ReplayedTraffic> layers,
              const TrafficOptions& options) {
    describe_subject(table, subject, Bins::ranks);
    table.context.emplace_back("num_source_ranks", layers.front().num_sources);
    if (options.bytes_per_token > 0)
        table.context.emplace_back("bytes_per_token", options.bytes_per_token);
}

std::string counting_note(const Subject& subject) {
    std::string how = "counted id by id";
    if (subject.split != ReplicaSplit::recorded)
        how += ", replicas by the engine's round robin";
    else if (subject.knows_experts())
        how += ", experts in order";
    return "A token goes once to each rank that serves it: " + how + ".";
}

std::string own_rank_note(const ReplayedTraffic& layer) {
    return "The recording has " + std::to_string(layer.num_sources) + " ranks, the placement " +
           std::to_string(layer.ep_size) +
           ": which of them a token starts from is not known, so its own rank is counted too.";
}

}  // namespace

std::deque<TrafficReplay> traffic_replays(const Subject& subject, int num_sources, int num_nodes) {
    const Placement in_order = subject.knows_experts() ? Placement{} : slots_in_order(subject);
    std::deque<TrafficReplay> replays;  // cannot be moved
    for (std::size_t layer = 0; layer < subject.layers.size(); ++layer)
        replays.emplace_back(subject.knows_experts() ? subject.placements[layer] : in_order,
                             subject.top_k, num_sources, subject.num_iterations, num_nodes);
    return replays;
}

Table traffic_table(const Subject& subject,
                    std::span<const ReplayedTraffic> layers,
                    const TrafficOptions& options) {
    assert(layers.size() == subject.layers.size() && !layers.empty());
    const bool knows_own_rank = layers.front().knows_own_rank();
    Table table;
    table.title = "Traffic:";
    table.columns = {traffic_column("layer")};
    for (const int layer_id : subject.layers)
        table.rows.push_back({layer_id});
    table.average = {"average"};
    const auto add_column = [&](const char* key, const auto& figure) {
        table.columns.push_back(traffic_column(key, 4));
        std::vector<double> values;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            values.push_back(figure(layers[i]));
            table.rows[i].emplace_back(values.back());
        }
        table.average.emplace_back(mean_of(values));
    };
    using Traffic = const ReplayedTraffic&;
    add_column("ranks_per_token", [](Traffic layer) { return layer.ranks_per_token(); });
    if (knows_own_rank)
        add_column("remote_ranks_per_token",
                   [](Traffic layer) { return layer.remote_ranks_per_token(); });
    if (options.num_nodes > 1)
        add_column("nodes_per_token", [](Traffic layer) { return layer.nodes_per_token(); });
    add_column("saved", [](Traffic layer) { return layer.saved_share(); });
    add_column("within_rank_share", [](Traffic layer) { return layer.within_rank_share(); });
    if (options.bytes_per_token > 0)
        add_column("mb_sent_per_rank",
                   [&](Traffic layer) { return mb_sent_per_rank(layer, options.bytes_per_token); });

    describe(table, subject, layers, options);
    if (options.num_nodes > 1)
        table.context.emplace_back("num_nodes", options.num_nodes);
    table.notes.push_back(counting_note(subject) + " Means over tokens, then over layers.");
    table.notes.emplace_back(
        "saved: share of the sends that are spared because experts of a token share a rank.");
    if (std::any_of(subject.placements.begin(), subject.placements.end(),
                    [](const Placement& placement) { return num_duplicate_slots(placement) > 0; }))
        table.notes.emplace_back(
            "A rank holds an expert twice: upstream's report_send_ranks_per_token, which takes the "
            "two for independent chances, says less.");
    if (options.bytes_per_token > 0)
        table.notes.push_back("A rank sends " +
                              fixed(sum_of_layers(layers, options.bytes_per_token), 3) +
                              " MB per iteration in all layers" +
                              (knows_own_rank ? ", none counted for itself" : "") +
                              "; what experts send back is not in it. MB are 10^6 bytes.");
    if (!knows_own_rank)
        table.notes.push_back(own_rank_note(layers.front()));
    return table;
}

Table rank_traffic_table(const Subject& subject,
                         std::span<const ReplayedTraffic> layers,
                         const TrafficOptions& options) {
    assert(layers.size() == subject.layers.size() && !layers.empty());
    const ReplayedTraffic& first = layers.front();
    std::vector<std::int64_t> sends(first.sends.size());
    std::int64_t num_own = 0;
    for (const ReplayedTraffic& layer : layers) {
        std::transform(sends.begin(), sends.end(), layer.sends.begin(), sends.begin(),
                       std::plus<>());
        num_own += layer.knows_own_rank() ? layer.sends_to_own_rank() : 0;
    }
    const std::int64_t num_iterations =
        std::max<std::int64_t>(num_iterations_with_tokens(layers), 1);
    const double unit = options.bytes_per_token > 0 ? options.bytes_per_token / kMegabyte : 1;
    const auto per_iteration = [&](std::int64_t count) {
        return static_cast<double>(count) / static_cast<double>(num_iterations) * unit;
    };

    Table table;
    table.title =
        options.bytes_per_token > 0 ? "MB from rank to rank:" : "Tokens from rank to rank:";
    const int decimals = options.bytes_per_token > 0 ? 4 : 1;
    table.columns = {traffic_column("source_rank")};
    for (int rank = 0; rank < first.ep_size; ++rank)
        table.columns.push_back(traffic_column("rank_" + std::to_string(rank), decimals));
    table.columns.push_back(traffic_column("total", decimals));
    std::vector<std::int64_t> received(first.ep_size + 1);  // the last is the total
    const Grid<const std::int64_t, 2> by_source(sends, {first.num_sources, first.ep_size});
    for (int source = 0; source < first.num_sources; ++source) {
        const std::span<const std::int64_t> sent = by_source.row(source);
        std::vector<std::int64_t> row(sent.begin(), sent.end());
        row.push_back(std::accumulate(row.begin(), row.end(), std::int64_t{0}));
        std::vector<Cell> cells = {source};
        for (std::size_t i = 0; i < row.size(); ++i) {
            received[i] += row[i];
            cells.emplace_back(per_iteration(row[i]));
        }
        table.rows.push_back(std::move(cells));
    }
    table.average = {"average"};
    for (const std::int64_t count : received)
        table.average.emplace_back(per_iteration(count) / first.num_sources);

    describe(table, subject, layers, options);
    table.context.emplace_back("unit", std::string(options.bytes_per_token > 0 ? "MB" : "tokens"));
    table.notes.push_back(counting_note(subject) +
                          " Rows send, columns receive; all layers together, mean per iteration." +
                          (options.bytes_per_token > 0 ? " MB are 10^6 bytes." : ""));
    const std::int64_t total = received.back();
    if (total == 0)
        return table;
    const auto busiest = std::max_element(received.begin(), received.end() - 1);
    const double times_mean =
        static_cast<double>(*busiest) * first.ep_size / static_cast<double>(total);
    table.notes.push_back("Rank " + std::to_string(busiest - received.begin()) +
                          " receives most, " + fixed(times_mean, 2) + " times the mean.");
    table.notes.push_back(
        first.knows_own_rank()
            ? "Cells of a rank with itself stay on it: " +
                  fixed(100.0 * static_cast<double>(num_own) / static_cast<double>(total), 1) +
                  " % of all."
            : own_rank_note(first));
    return table;
}

}  // namespace eplb
