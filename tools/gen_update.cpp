#include "tools/gen_update.h"

#include <cmath>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/engines/config_rules.h"
#include "lib/engines/engine.h"
#include "lib/formats/configs/config_file.h"
#include "lib/placement/plan/plan_config.h"
#include "tools/statistics_input.h"
#include "tools/terminal.h"

namespace eplb {
namespace {

std::string size_text(double bytes) {
    for (const auto& [unit, name] : {std::pair(1e9, " GB"), std::pair(1e6, " MB")})
        if (bytes >= unit)
            return formatted("%.1f", bytes / unit) + name;
    return formatted("%.0f bytes", bytes);
}

void print_moves(const cli::Output& out,
                 const UpdateSummary& update,
                 std::span<const int> layers,
                 double bytes_per_expert) {
    if (update.num_moves == 0) {
        out.note("no slot moves");
        return;
    }
    std::string line =
        std::to_string(update.num_moves) + " of " + std::to_string(update.num_slots) +
        " slots move (" +
        formatted("%.1f", 100.0 * update.num_moves / static_cast<double>(update.num_slots)) +
        " %), at most " + std::to_string(update.most_per_layer) + " per layer (layer " +
        std::to_string(layers[update.most_layer]) + ") and " +
        std::to_string(update.most_per_rank) + " per rank (rank " +
        std::to_string(update.most_rank) + ")";
    if (bytes_per_expert > 0)
        line += "; " + size_text(update.num_moves * bytes_per_expert) + " of weights, " +
                size_text(update.most_per_rank * bytes_per_expert) + " at most onto one rank";
    out.note(line);
    line = "moves per rank:";
    for (const int moves : update.rank_moves)
        line += " " + std::to_string(moves);
    out.note(line);
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
    const Placement otherwise = default_engine().default_placement(
        num_experts, request.ep_size, request.num_slots / request.ep_size);
    PlacementsInForce found = placements_in_force(current, layers, otherwise);
    const std::vector<int>& missing = found.missing_layers;
    if (!missing.empty())
        out.note(layers_text(missing) + (missing.size() == 1 ? " is" : " are") + " not in " + path +
                 ": taken to have the engine's default assignment");
    return std::move(found.placements);
}

void print_update(const cli::Output& out,
                  const UpdateSummary& update,
                  const Plan& plan,
                  std::span<const int> layers,
                  double bytes_per_expert) {
    print_moves(out, update, layers, bytes_per_expert);
    std::string line = "with the placement in force, imbalance ratio " +
                       formatted("%.3f", update.current_imbalance) +
                       " on the counts fitted to; after the update " +
                       formatted("%.3f", update.fitted);
    if (update.gain)
        line += ", predicted " + formatted("%.3f", plan.prediction.imbalance) +
                (update.is_worth_it()
                     ? formatted(": %.0f %% lower than in force", std::round(100 * *update.gain))
                     : ": no better than what is in force, not worth the moves");
    out.note(line);
}

}  // namespace eplb
