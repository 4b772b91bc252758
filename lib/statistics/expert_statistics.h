#ifndef EPLB_STATISTICS_EXPERT_STATISTICS_H
#define EPLB_STATISTICS_EXPERT_STATISTICS_H

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "lib/base/grid.h"

namespace eplb {

// What the counts and routed ids of a recording stand for.
enum class IdKind {
    unstated,  // TensorRT-LLM's folders do not say; taken for experts until a config is given
    expert,    // the model's experts
    slot,      // the slots of the EplbConfig that was in force during the recording
};

// Routed token counts, exact: how many of its tokens each source rank sent to each expert, per
// iteration and layer. The value that everything turns around.
//
// Layers are model layer ids (3..60 for DeepSeek-R1), never renumbered. Iterations are contiguous
// and start at iter_start. A token routed to top_k experts counts top_k times.
struct ExpertStatistics {
    int num_experts = 0;          // number of slots where ids == IdKind::slot
    int top_k = 0;                // routed experts per token; 0: the format does not say
    int ep_size = 0;              // source ranks of the recording
    std::vector<int> layers;      // ascending, no layer twice
    std::int64_t iter_start = 0;  // id of the first iteration
    int num_iterations = 0;

    // ep_size; or 1 where the counts were summed over the source ranks, or fewer where one of
    // several processes holds those of its own
    int num_sources = 0;
    // The recorder added the source ranks up and does not say how many there were: ep_size and
    // num_sources are 1 and say nothing.
    bool has_unknown_sources = false;

    // Decoder layers of the model, those without experts too, where the format tells; 0: it does
    // not.
    int num_hidden_layers = 0;
    // `layers` are all the layers with experts that the model has: the format or the user said so.
    bool has_all_moe_layers = false;

    IdKind ids = IdKind::unstated;
    // Of the config in force, where ids are slots: above 0 the experts behind the slots moved
    // during the recording, so that no single config can turn slots back into experts.
    int layer_updates_per_iter = 0;

    std::vector<std::int64_t> counts;  // [num_iterations][layers][num_sources][num_experts]

    int num_layers() const { return static_cast<int>(layers.size()); }
    std::int64_t iter_stop() const { return iter_start + num_iterations; }

    // Gives counts its size, all zero, from the members above.
    void allocate();

    // counts, by positions from 0: of iterations and layers too, not ids.
    Grid<std::int64_t, 4> grid() {
        return {counts, {num_iterations, num_layers(), num_sources, num_experts}};
    }
    Grid<const std::int64_t, 4> grid() const {
        return {counts, {num_iterations, num_layers(), num_sources, num_experts}};
    }

    // One cell row, [num_experts].
    std::span<std::int64_t> row(int iteration, int layer, int source) {
        return grid().row(iteration, layer, source);
    }
    std::span<const std::int64_t> row(int iteration, int layer, int source) const {
        return grid().row(iteration, layer, source);
    }

    // Position of a model layer id in layers, if it is there.
    std::optional<int> find_layer(int layer_id) const;

    bool operator==(const ExpertStatistics&) const = default;
};

// [num_experts]: counts of one layer summed over iterations and source ranks.
std::vector<std::int64_t> total_counts(const ExpertStatistics& statistics, int layer);

// [num_iterations][num_experts]: counts of one layer summed over source ranks.
std::vector<std::int64_t> counts_per_iteration(const ExpertStatistics& statistics, int layer);

// The ids themselves, in token order: for exact replays of the replica choice and for traffic.
struct RoutedIds {
    int top_k = 0;
    int ep_size = 0;
    std::vector<int> layers;
    std::int64_t iter_start = 0;
    int num_iterations = 0;
    // [num_iterations][layers][ep_size], each [num_tokens of that rank][top_k]; -1: not routed
    std::vector<std::vector<std::int32_t>> ids;

    std::vector<std::int32_t>& cell(int iteration, int layer, int source) {
        return Grid<std::vector<std::int32_t>, 3>(ids, sizes())(iteration, layer, source);
    }
    const std::vector<std::int32_t>& cell(int iteration, int layer, int source) const {
        return Grid<const std::vector<std::int32_t>, 3>(ids, sizes())(iteration, layer, source);
    }
    int num_layers() const { return static_cast<int>(layers.size()); }
    // Of ids.
    std::array<int, 3> sizes() const { return {num_iterations, num_layers(), ep_size}; }

    bool operator==(const RoutedIds&) const = default;
};

}  // namespace eplb

#endif
