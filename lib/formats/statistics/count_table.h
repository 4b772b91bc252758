#ifndef EPLB_FORMATS_STATISTICS_COUNT_TABLE_H
#define EPLB_FORMATS_STATISTICS_COUNT_TABLE_H

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/base/grid.h"
#include "lib/statistics/expert_statistics.h"

// Engines other than TensorRT-LLM dump tables whose rows are layers, and which layer a row is
// depends on the engine. A reader gives such a table as it is; number_layers() makes statistics of
// it.
namespace eplb {

// Which layers the rows of a table are.
enum class LayerRows {
    by_id,           // the format names them
    decoder_layers,  // row i is layer i; dense layers have rows too (SGLang)
    moe_layers,      // MoE layers only, in order (vLLM)
    unstated,        // either of the two before
};

struct CountTable {
    LayerRows layer_rows = LayerRows::unstated;
    std::vector<int> layer_ids;  // [num_rows], ascending; where layer_rows == by_id
    int num_rows = 0;
    int num_experts = 0;  // number of slots where ids == IdKind::slot
    int top_k = 0;        // 0: the format does not say
    IdKind ids = IdKind::expert;

    int ep_size = 1;                  // source ranks that recorded; as in ExpertStatistics
    int num_sources = 1;              // ep_size, or 1 where they are summed
    bool has_unknown_sources = true;  // as in ExpertStatistics

    std::int64_t iter_start = 0;
    int num_iterations = 0;
    std::vector<std::int64_t> counts;  // [num_iterations][num_rows][num_sources][num_experts]

    // What was left out or is odd, a sentence each without the file's name: "3 of 8 steps hold no
    // tokens: unused places of the recorder's buffer, left out"
    std::vector<std::string> warnings;

    // Gives counts its size, all zero, from the members above. Error that starts with `name` where
    // that is more than any recording has.
    void allocate(const std::string& name);

    std::array<int, 4> sizes() const {
        return {num_iterations, num_rows, num_sources, num_experts};
    }
    std::span<std::int64_t> row(int iteration, int row, int source) {
        return Grid<std::int64_t, 4>(counts, sizes()).row(iteration, row, source);
    }
    std::span<const std::int64_t> row(int iteration, int row, int source) const {
        return Grid<const std::int64_t, 4>(counts, sizes()).row(iteration, row, source);
    }
};

// What the command line says of layers. At most one of the two is given.
struct LayerOptions {
    std::optional<int> first_moe_layer;  // all layers from this one on are MoE layers
    std::vector<int> moe_layers;         // ascending; empty: not given
};

// The table as statistics; `name` is the file, for messages. Layers are never guessed:
//
//   by_id            its ids; options must not be given
//   decoder_layers   row i is layer i. The options say which are MoE layers, and rows of others
//   must
//                    hold no tokens. Without options a row without tokens is an Error: it may be a
//                    dense layer or a MoE layer that nothing was routed to
//   moe_layers       row i is moe_layers[i], or first_moe_layer + i; without options an Error
//   unstated         as many rows as moe_layers: row i is moe_layers[i]; more: row i is layer i.
//                    first_moe_layer tells only where it is 0, for then both are the same. Without
//                    a list otherwise an Error that shows both readings
ExpertStatistics number_layers(CountTable table,
                               const LayerOptions& options,
                               const std::string& name);

}  // namespace eplb

#endif
