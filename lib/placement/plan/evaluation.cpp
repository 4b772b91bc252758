#include "lib/placement/plan/evaluation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace eplb {
namespace {

double imbalance(std::span<const double> expert_load,
                 const Placement& placement,
                 std::span<const int> replica_count,
                 std::span<const double> rank_speed) {
    double fullest = 0;
    for (int rank_id = 0; rank_id < placement.ep_size; ++rank_id) {
        double load = 0;
        for (const int expert : placement.rank(rank_id))
            load += expert_load[expert] / replica_count[expert];
        const double speed = rank_speed.empty() ? 1.0 : rank_speed[rank_id];
        fullest = std::max(fullest, load / speed);
    }
    const double total = std::accumulate(expert_load.begin(), expert_load.end(), 0.0);
    const double capacity = rank_speed.empty()
                                ? placement.ep_size
                                : std::accumulate(rank_speed.begin(), rank_speed.end(), 0.0);
    return std::max(0.0, fullest * capacity / total - 1);  // or what rounding makes of 0
}

}  // namespace

double imbalance(std::span<const double> expert_load,
                 const Placement& placement,
                 std::span<const double> rank_speed) {
    return imbalance(expert_load, placement,
                     replica_counts(placement.expert_ids, static_cast<int>(expert_load.size())),
                     rank_speed);
}

std::vector<double> iteration_imbalance(const SampleRange& range,
                                        const Placement& placement,
                                        std::span<const double> rank_speed) {
    const std::vector<int> replica_count =
        replica_counts(placement.expert_ids, range.samples->num_experts());
    std::vector<double> values;
    values.reserve(range.end - range.begin);
    for (int i = range.begin; i < range.end; ++i)
        values.push_back(
            range.samples->total(i) == 0
                ? std::numeric_limits<double>::quiet_NaN()
                : imbalance(range.samples->iteration(i), placement, replica_count, rank_speed));
    return values;
}

double mean_of(std::span<const double> values) {
    double sum = 0;
    int count = 0;
    for (const double value : values)
        if (!std::isnan(value)) {
            sum += value;
            ++count;
        }
    return count > 0 ? sum / count : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace eplb
