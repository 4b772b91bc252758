#include "lib/base/error.h"
#include "lib/formats/statistics/count_readers.h"
#include "lib/formats/statistics/json_counts.h"

namespace eplb {

CountTable parse_vllm_history(std::string_view text, const std::string& name) {
    JsonCounts json =
        parse_json_counts(text, {"logical_expert_load", "load_history", {}, {}}, name);
    if (json.shape.size() != 3)
        throw Error(name + ": \"logical_expert_load\": must be [layers][experts], it is one list");
    CountTable table;
    table.layer_rows = LayerRows::moe_layers;
    table.num_iterations = json.shape[0];
    table.number_rows(json.shape[1]);
    table.num_experts = json.shape[2];
    table.counts = std::move(json.counts);
    return table;
}

}  // namespace eplb
