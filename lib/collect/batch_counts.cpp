#include "lib/collect/batch_counts.h"

#include <algorithm>
#include <numeric>

#include "lib/base/grid.h"
#include "lib/placement/route/load_summary.h"

namespace eplb {

std::vector<double> BatchCounts::rank_imbalance(int iteration) const {
    const int num_slots = statistics.num_experts;
    const Grid<const std::int64_t, 3> totals(
        slot_totals, {statistics.num_iterations, statistics.num_layers(), num_slots});
    std::vector<double> imbalance;
    for (int layer = 0; layer < statistics.num_layers(); ++layer) {
        const auto row = totals.row(iteration, layer);
        const LayerLoad slots = {1, num_slots, {row.begin(), row.end()}};
        imbalance.push_back(summarize(rank_load(slots, statistics.ep_size)).imbalance_ratio);
    }
    return imbalance;
}

void ImbalanceAverage::add(const std::vector<double>& rank_imbalance) {
    for (std::size_t i = 0; i < sums_.size(); ++i)
        sums_[i] += rank_imbalance[i];
    ++num_iterations_;
}

double ImbalanceAverage::over_layers() const {
    return std::accumulate(sums_.begin(), sums_.end(), 0.0) / static_cast<double>(sums_.size()) /
           num_iterations_;
}

std::size_t ImbalanceAverage::worst_layer() const {
    return static_cast<std::size_t>(std::max_element(sums_.begin(), sums_.end()) - sums_.begin());
}

}  // namespace eplb
