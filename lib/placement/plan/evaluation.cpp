#include "lib/placement/plan/evaluation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/sum.h"

namespace eplb {
namespace {

// Of one placement, for any number of loads.
class RankImbalance {
  public:
    RankImbalance(const Placement& placement, int num_experts, std::span<const double> rank_speed)
        : placement_(placement),
          rank_speed_(rank_speed),
          replica_count_(replica_counts(placement.expert_ids, num_experts)),
          share_(num_experts),
          capacity_(rank_speed.empty() ? placement.ep_size : sum_of(rank_speed)) {
        for (int expert = 0; expert < num_experts; ++expert)
            if (replica_count_[expert] > 1)
                replicated_.push_back(expert);
    }

    // total: the sum of expert_load.
    template <typename Value>
    double of(std::span<const Value> expert_load, double total) {
        std::transform(expert_load.begin(), expert_load.end(), share_.begin(),
                       [](Value load) { return static_cast<double>(load); });
        for (const int expert : replicated_)
            share_[expert] /= replica_count_[expert];
        double fullest = 0;
        for (int rank_id = 0; rank_id < placement_.ep_size; ++rank_id) {
            double load = 0;
            for (const int expert : placement_.rank(rank_id))
                load += share_[expert];
            fullest = std::max(fullest, rank_speed_.empty() ? load : load / rank_speed_[rank_id]);
        }
        return std::max(0.0, fullest * capacity_ / total - 1);  // or what rounding makes of 0
    }

  private:
    const Placement& placement_;
    std::span<const double> rank_speed_;
    std::vector<int> replica_count_;
    std::vector<int> replicated_;  // experts with more than one replica
    std::vector<double> share_;    // [num_experts]: what one replica carries
    double capacity_;
};

}  // namespace

double imbalance(std::span<const double> expert_load,
                 const Placement& placement,
                 std::span<const double> rank_speed) {
    return RankImbalance(placement, static_cast<int>(expert_load.size()), rank_speed)
        .of(expert_load, sum_of(expert_load));
}

std::vector<double> iteration_imbalance(const SampleRange& range,
                                        const Placement& placement,
                                        std::span<const double> rank_speed) {
    RankImbalance ranks(placement, range.samples->num_experts(), rank_speed);
    std::vector<double> values;
    values.reserve(range.end - range.begin);
    for (int i = range.begin; i < range.end; ++i) {
        const double total = range.samples->total(i);
        values.push_back(total == 0 ? std::numeric_limits<double>::quiet_NaN()
                                    : ranks.of(range.samples->iteration(i), total));
    }
    return values;
}

}  // namespace eplb
