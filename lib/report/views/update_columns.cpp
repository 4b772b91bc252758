#include "lib/report/views/update_columns.h"

#include <algorithm>
#include <variant>
#include <vector>

#include "lib/placement/plan/update_summary.h"

namespace eplb {

void add_update_columns(std::span<const LayerUpdate> updates,
                        double bytes_per_expert,
                        Table& table) {
    table.columns.push_back({"current", "current"});
    table.columns.push_back({"moves", "moves"});
    table.columns.push_back({"most_moves_per_rank", "most-moves-per-rank"});
    table.average.insert(table.average.end(),
                         {current_imbalance(updates), std::monostate(), std::monostate()});
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
