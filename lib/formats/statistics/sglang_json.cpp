#include <algorithm>

#include "lib/base/error.h"
#include "lib/formats/statistics/count_readers.h"
#include "lib/formats/statistics/json_counts.h"
#include "lib/formats/statistics/sglang_layout.h"

namespace eplb {
namespace {

// Takes the iterations without tokens out of a table and says so. Unused places of the recorder's
// buffer are such iterations.
void drop_empty_iterations(CountTable& table, const std::string& name) {
    const auto size = static_cast<std::ptrdiff_t>(table.num_layers()) * table.num_experts;
    const int num_recorded = table.num_iterations;
    auto kept = table.counts.begin();
    for (int iteration = 0; iteration < num_recorded; ++iteration) {
        const auto begin = table.counts.begin() + iteration * size;
        if (std::all_of(begin, begin + size, [](std::int64_t count) { return count == 0; })) {
            --table.num_iterations;
            continue;
        }
        kept = begin == kept ? begin + size : std::copy(begin, begin + size, kept);
    }
    table.counts.erase(kept, table.counts.end());
    if (table.num_iterations == 0)
        throw Error(name + ": \"logical_count\": none of its " + std::to_string(num_recorded) +
                    " steps holds tokens: nothing was recorded; record again");
    const int num_dropped = num_recorded - table.num_iterations;
    if (num_dropped > 0)
        table.warnings.push_back(std::to_string(num_dropped) + " of " +
                                 std::to_string(num_recorded) +
                                 (num_dropped == 1 ? " steps holds" : " steps hold") +
                                 " no tokens: unused places of the recorder's buffer, left out");
}

}  // namespace

CountTable parse_sglang_json(std::string_view text, const std::string& name) {
    JsonCounts json = parse_json_counts(text, {"logical_count", {}, {}, {kSglangLayoutKey}}, name);
    if (json.texts.count(kSglangLayoutKey) > 0)
        refuse_sglang_layout(json.texts.at(kSglangLayoutKey), name);
    if (json.shape.size() < 2)
        throw Error(name +
                    ": \"logical_count\": must be [layers][experts] or "
                    "[steps][layers][experts], it is one list");
    CountTable table;
    table.layer_rows = LayerRows::decoder_layers;
    const bool has_steps = json.shape.size() == 3;
    table.num_iterations = has_steps ? json.shape[0] : 1;
    table.number_rows(json.shape[json.shape.size() - 2]);
    table.num_experts = json.shape.back();
    table.counts = std::move(json.counts);
    if (has_steps)
        drop_empty_iterations(table, name);
    return table;
}

}  // namespace eplb
