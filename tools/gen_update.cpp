#include "tools/gen_update.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <variant>

#include "lib/base/error.h"
#include "lib/formats/configs/config_file.h"
#include "lib/formats/configs/config_rules.h"
#include "lib/placement/plan/evaluation.h"
#include "tools/statistics_input.h"
#include "tools/terminal.h"

namespace eplb {
namespace {

using cli::formatted;

std::string size_text(double bytes) {
    for (const auto& [unit, name] : {std::pair(1e9, " GB"), std::pair(1e6, " MB")})
        if (bytes >= unit)
            return formatted("%.1f", bytes / unit) + name;
    return formatted("%.0f bytes", bytes);
}

double mean_current_imbalance(const std::vector<LayerUpdate>& updates) {
    std::vector<double> values;
    for (const LayerUpdate& layer : updates)
        values.push_back(layer.current_imbalance);
    return mean_of(values);
}

// Gives how many slots move.
int print_moves(const cli::Output& out,
                const std::vector<LayerUpdate>& updates,
                std::span<const int> layers,
                int num_slots,
                double bytes_per_expert) {
    std::vector<int> layer_moves;
    std::vector<int> rank_moves(updates.front().rank_moves.size());
    for (const LayerUpdate& layer : updates) {
        layer_moves.push_back(layer.num_moves());
        std::transform(rank_moves.begin(), rank_moves.end(), layer.rank_moves.begin(),
                       rank_moves.begin(), std::plus<>());
    }
    const int num_moves = std::accumulate(layer_moves.begin(), layer_moves.end(), 0);
    if (num_moves == 0) {
        out.note("no slot moves");
        return 0;
    }
    const auto most_of_layer = std::max_element(layer_moves.begin(), layer_moves.end());
    const auto most_of_rank = std::max_element(rank_moves.begin(), rank_moves.end());
    const std::int64_t num_slots_of_all = static_cast<std::int64_t>(layers.size()) * num_slots;
    std::string line =
        std::to_string(num_moves) + " of " + std::to_string(num_slots_of_all) + " slots move (" +
        formatted("%.1f", 100.0 * num_moves / static_cast<double>(num_slots_of_all)) +
        " %), at most " + std::to_string(*most_of_layer) + " per layer (layer " +
        std::to_string(layers[most_of_layer - layer_moves.begin()]) + ") and " +
        std::to_string(*most_of_rank) + " per rank (rank " +
        std::to_string(most_of_rank - rank_moves.begin()) + ")";
    if (bytes_per_expert > 0)
        line += "; " + size_text(num_moves * bytes_per_expert) + " of weights, " +
                size_text(*most_of_rank * bytes_per_expert) + " at most onto one rank";
    out.note(line);
    line = "moves per rank:";
    for (const int moves : rank_moves)
        line += " " + std::to_string(moves);
    out.note(line);
    return num_moves;
}

}  // namespace

EngineConfig read_current(const cli::Output& out,
                          const GenOptions& options,
                          const ConfigContext& context) {
    const std::string& path = options.current;
    EngineConfig config = cli::read_engine_config(out, path, options.statistics, context);
    if (config.config.layer_updates_per_iter > 0)
        throw Error(path + ": is a config of online balancing (layer_updates_per_iter " +
                    std::to_string(config.config.layer_updates_per_iter) +
                    "), whose experts have moved since; what is in force can be told of a static "
                    "config only");
    return config;
}

std::vector<Placement> current_placements(const cli::Output& out,
                                          const EplbConfig& current,
                                          const std::string& path,
                                          std::span<const int> layers,
                                          int num_experts,
                                          const PlanRequest& request) {
    if (current.num_slots != request.num_slots)
        throw Error(path + ": has " + std::to_string(current.num_slots) + " slots, not " +
                    std::to_string(request.num_slots) +
                    "; a running deployment keeps its slots: give --num_slots " +
                    std::to_string(current.num_slots) + ", or leave out --current");
    const int slots_per_rank = request.num_slots / request.ep_size;
    std::vector<Placement> placements;
    std::vector<int> missing;
    for (const int layer : layers) {
        const auto found = current.initial_global_assignments.find(layer);
        if (found == current.initial_global_assignments.end()) {
            missing.push_back(layer);
            placements.push_back(default_placement(num_experts, request.ep_size, slots_per_rank));
        } else {
            placements.push_back({request.ep_size, slots_per_rank, found->second});
        }
    }
    if (!missing.empty())
        out.note(layers_text(missing) + (missing.size() == 1 ? " is" : " are") + " not in " + path +
                 ": taken to have the engine's default assignment");
    return placements;
}

void keep_other_layers(const cli::Output& out,
                       const EplbConfig& current,
                       EplbConfig& config,
                       std::vector<int>& layers_to_fill) {
    std::vector<int> kept;
    for (const auto& [layer, expert_ids] : current.initial_global_assignments)
        if (config.initial_global_assignments.try_emplace(layer, expert_ids).second)
            kept.push_back(layer);
    if (kept.empty())
        return;
    out.note(layers_text(kept) + (kept.size() == 1 ? " keeps its" : " keep their") +
             " placement: the statistics say nothing of " + (kept.size() == 1 ? "it" : "them"));
    std::erase_if(layers_to_fill, [&](int layer) {
        return std::find(kept.begin(), kept.end(), layer) != kept.end();
    });
}

void print_update(const cli::Output& out,
                  const std::vector<LayerUpdate>& updates,
                  const Plan& plan,
                  std::span<const int> layers,
                  double bytes_per_expert) {
    const int num_moves = print_moves(out, updates, layers,
                                      plan.layers.front().placement.num_slots(), bytes_per_expert);
    std::string line = "with the placement in force, imbalance ratio " +
                       formatted("%.3f", mean_current_imbalance(updates)) +
                       " on the counts fitted to; after the update " +
                       formatted("%.3f", mean_over_layers(plan, &LayerPlan::fitted));
    if (plan.basis != PredictionBasis::none && num_moves > 0) {
        // what is in force was not fitted to these counts, so that its figure is a prediction too
        const double current = mean_current_imbalance(updates);
        const double percent = std::round(100 * (1 - plan.prediction.imbalance / current));
        line += ", predicted " + formatted("%.3f", plan.prediction.imbalance) +
                (percent >= 1 ? formatted(": %.0f %% lower than in force", percent)
                              : ": no better than what is in force, not worth the moves");
    }
    out.note(line);
}

void add_update_columns(const std::vector<LayerUpdate>& updates,
                        double bytes_per_expert,
                        Table& table) {
    table.columns.push_back({"current", "current"});
    table.columns.push_back({"moves", "moves"});
    table.columns.push_back({"most_moves_per_rank", "most-moves-per-rank"});
    table.average.insert(table.average.end(),
                         {mean_current_imbalance(updates), std::monostate(), std::monostate()});
    for (std::size_t i = 0; i < updates.size(); ++i) {
        const std::vector<int>& ranks = updates[i].rank_moves;
        table.rows[i].emplace_back(updates[i].current_imbalance);
        table.rows[i].emplace_back(static_cast<std::int64_t>(updates[i].num_moves()));
        table.rows[i].emplace_back(
            static_cast<std::int64_t>(*std::max_element(ranks.begin(), ranks.end())));
    }
    if (bytes_per_expert == 0)
        return;
    table.columns.push_back({"bytes", "bytes"});
    table.average.emplace_back(std::monostate());
    for (std::size_t i = 0; i < updates.size(); ++i)
        table.rows[i].emplace_back(
            static_cast<std::int64_t>(updates[i].num_moves() * bytes_per_expert));
}

}  // namespace eplb
