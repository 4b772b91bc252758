#include "lib/placement/search/quadratic_annealing.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "lib/base/random.h"

namespace eplb {
namespace {

// of a rank's mean part of H, at the start and the end
constexpr double kFirstHTemperature = 0.1;
constexpr double kLastHTemperature = 1e-4;
constexpr int kHStepsPerTemperature = 64;
// chances below exp(-this) are not drawn
constexpr double kHopeless = 12;

class Annealer {
  public:
    Annealer(const PlacementProblem& problem, SlotTable& table)
        : table_(table),
          num_experts_(problem.load.size()),
          moment_(num_experts_ * num_experts_),
          own_(num_experts_),
          with_experts_(problem.ep_size * num_experts_) {
        fill_moments(problem);
        for (int slot = 0; slot < table.num_slots(); ++slot)
            add(table.rank_of(slot), table.expert(slot), 1);
        for (int slot = 0; slot < table.num_slots(); ++slot)
            objective_ += with(table.rank_of(slot))[table.expert(slot)];
        // sum of 2 mu - 1 over ranks, weighted over scenarios: whatever the placement
        for (int workload = 0; workload < problem.num_scenarios(); ++workload) {
            double total = 0;
            for (const double load : problem.scenario(workload))
                total += load;
            objective_ -= problem.scenario_weight[workload] * (2 * total - problem.ep_size);
        }
    }

    double objective() const { return objective_; }

    // half of what H changes by
    float half_change(int slot, int other) const {
        const float* const rank = with(table_.rank_of(slot));
        const float* const other_rank = with(table_.rank_of(other));
        const int a = table_.expert(slot);
        const int b = table_.expert(other);
        return rank[b] - other_rank[b] - rank[a] + other_rank[a] + own_[a] + own_[b] -
               2 * moment_[a * num_experts_ + b];
    }

    void swap(int slot, int other) {
        const float* const leaves = &moment_[table_.expert(slot) * num_experts_];
        const float* const comes = &moment_[table_.expert(other) * num_experts_];
        float* const rank = with(table_.rank_of(slot));
        float* const other_rank = with(table_.rank_of(other));
        for (std::size_t i = 0; i < num_experts_; ++i) {
            const float difference = comes[i] - leaves[i];
            rank[i] += difference;
            other_rank[i] -= difference;
        }
        table_.swap(slot, other);
    }

  private:
    // Second moments of two replicas' loads, so that H of a rank is their sum over its pairs.
    void fill_moments(const PlacementProblem& problem) {
        std::vector<double> row(num_experts_);
        for (std::size_t a = 0; a < num_experts_; ++a) {
            if (problem.covariance != nullptr) {
                const auto covariance = problem.covariance->row(a);
                row.assign(covariance.begin(), covariance.end());
            } else {
                row.assign(num_experts_, 0);
            }
            for (int workload = 0; workload < problem.num_scenarios(); ++workload) {
                const std::span<const double> load = problem.scenario(workload);
                const double factor = problem.scenario_weight[workload] * load[a];
                for (std::size_t b = 0; b < num_experts_; ++b)
                    row[b] += factor * load[b];
            }
            const double count = table_.replicas(static_cast<int>(a));
            for (std::size_t b = 0; b < num_experts_; ++b)
                moment_[a * num_experts_ + b] =
                    static_cast<float>(row[b] / count / table_.replicas(static_cast<int>(b)));
            own_[a] = moment_[a * num_experts_ + a];
        }
    }

    float* with(int rank_id) { return &with_experts_[rank_id * num_experts_]; }
    const float* with(int rank_id) const { return &with_experts_[rank_id * num_experts_]; }
    void add(int rank_id, int expert, float factor) {
        float* const rank = with(rank_id);
        const float* const moments = &moment_[expert * num_experts_];
        for (std::size_t i = 0; i < num_experts_; ++i)
            rank[i] += factor * moments[i];
    }

    SlotTable& table_;
    std::size_t num_experts_;
    std::vector<float> moment_;        // [num_experts][num_experts], of replicas
    std::vector<float> own_;           // [num_experts], its diagonal
    std::vector<float> with_experts_;  // [ep_size][num_experts]: of a rank with each replica
    double objective_ = 0;
};

}  // namespace

SlotTable anneal_quadratic(const PlacementProblem& problem,
                           SlotTable table,
                           int num_steps,
                           std::uint64_t seed) {
    if (table.ep_size() < 2)
        return table;
    Annealer annealer(problem, table);
    double temperature =
        std::max(annealer.objective(), 1e-12) / problem.ep_size * kFirstHTemperature;
    const double cooling = std::pow(kLastHTemperature / kFirstHTemperature,
                                    static_cast<double>(kHStepsPerTemperature) / num_steps);
    RandomSequence random(seed);
    for (int step = 0; step < num_steps; ++step) {
        if (step % kHStepsPerTemperature == 0 && step > 0)
            temperature *= cooling;
        const int slot = random.below(table.num_slots());
        const int other = random.below(table.num_slots());
        if (table.rank_of(slot) == table.rank_of(other))
            continue;
        const double change = 2 * static_cast<double>(annealer.half_change(slot, other));
        if (change > 0) {
            if (change > kHopeless * temperature)
                continue;
            const double chance = random.uniform();
            if (change > -temperature * std::log(chance))
                continue;
        }
        if (table.may_swap(slot, other))
            annealer.swap(slot, other);
    }
    return table;
}

}  // namespace eplb
