#ifndef EPLB_FORMATS_STATISTICS_COUNT_TABLE_H
#define EPLB_FORMATS_STATISTICS_COUNT_TABLE_H

#include <optional>
#include <string>
#include <vector>

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

// Statistics that are not told yet which layers they are of: `layers` number the rows from 0,
// unless layer_rows is by_id.
struct CountTable : ExpertStatistics {
    CountTable() {
        ep_size = num_sources = 1;
        has_unknown_sources = true;
        ids = IdKind::expert;
    }

    LayerRows layer_rows = LayerRows::unstated;

    // What was left out or is odd, a sentence each without the file's name: "3 of 8 steps hold no
    // tokens: unused places of the recorder's buffer, left out"
    std::vector<std::string> warnings;

    void number_rows(int num_rows);

    // Numbers the rows and gives counts their size, all zero, from the members above. Error that
    // starts with `name` where that is more than any recording has.
    void allocate(int num_rows, const std::string& name);
};

// What the command line says of layers. At most one of the two is given.
struct LayerOptions {
    std::optional<int> first_moe_layer;  // all layers from this one on are MoE layers
    std::vector<int> moe_layers;         // ascending; empty: not given
};

// The table as statistics; `name` is the file, for messages. Which layer a row is depends on how
// the table numbers its rows, and is never guessed:
//
//   by_id           the table has the ids. Error: options are given
//   decoder_layers  row i is layer i. The options say which of them are MoE layers; Error: another
//                   row holds tokens. Without options all are MoE layers; Error: a row without
//                   tokens, which may be a dense layer or one that nothing was routed to
//   moe_layers      row i is moe_layers[i], or first_moe_layer + i. Error: no options
//   unstated        row i is moe_layers[i] where there are as many rows, and layer i where there
//                   are more. first_moe_layer tells only if it is 0, where both are the same.
//                   Error, which shows both readings: neither option tells
ExpertStatistics number_layers(CountTable table,
                               const LayerOptions& options,
                               const std::string& name);

}  // namespace eplb

#endif
