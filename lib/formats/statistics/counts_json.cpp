#include "lib/base/error.h"
#include "lib/formats/statistics/count_readers.h"
#include "lib/formats/statistics/json_counts.h"

namespace eplb {
namespace {

void check_declared(const JsonCounts& json,
                    const std::string& key,
                    int counted,
                    const std::string& name) {
    const auto declared = json.integers.find(key);
    if (declared != json.integers.end() && declared->second != counted)
        throw Error(name + ": \"" + key + "\" is " + std::to_string(declared->second) +
                    ", while \"counts\" has " + std::to_string(counted) +
                    ": the file is damaged; make it again");
}

}  // namespace

CountTable parse_counts_json(std::string_view text, const std::string& name) {
    JsonCounts json =
        parse_json_counts(text, {"counts", {}, {"num_layers", "num_experts"}, {}}, name);
    if (json.shape.size() != 2)
        throw Error(name + ": \"counts\": must be [layers][experts], it has " +
                    std::to_string(json.shape.size()) + " dimensions");
    CountTable table;
    table.layer_rows = LayerRows::unstated;
    table.num_iterations = 1;
    table.number_rows(json.shape[0]);
    table.num_experts = json.shape[1];
    check_declared(json, "num_layers", table.num_layers(), name);
    check_declared(json, "num_experts", table.num_experts, name);
    table.counts = std::move(json.counts);
    return table;
}

}  // namespace eplb
