#include "lib/placement/route/rank_load.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <numeric>
#include <string>

#include "lib/base/error.h"

namespace eplb {
void require_expert_ids(const ExpertStatistics& statistics) {
    if (statistics.ids == IdKind::slot)
        throw Error(
            "statistics: the ids are slots, not experts; fold them with the config that was "
            "in force during the recording");
}

LayerLoad::LayerLoad(int iterations, int bins, std::vector<double> load)
    : num_iterations(iterations),
      num_bins(bins),
      load_(std::make_shared<const std::vector<double>>(std::move(load))),
      begin_(load_->data()) {
    assert(std::ssize(*load_) == std::ptrdiff_t{iterations} * bins);
}

LayerLoad LayerLoad::part(int first, int count) const {
    assert(first >= 0 && count >= 0 && first + count <= num_iterations);
    LayerLoad some = *this;
    some.num_iterations = count;
    some.begin_ += std::ptrdiff_t{first} * num_bins;
    return some;
}

std::vector<double> LayerLoad::values() const {
    return {begin_, begin_ + std::ptrdiff_t{num_iterations} * num_bins};
}

std::vector<double> bin_totals(const LayerLoad& load) {
    std::vector<double> totals(load.num_bins);
    for (int i = 0; i < load.num_iterations; ++i)
        std::transform(totals.begin(), totals.end(), load.iteration(i).begin(), totals.begin(),
                       std::plus<>());
    return totals;
}

LayerLoad recorded_load(const ExpertStatistics& statistics, int layer) {
    const auto num_experts = static_cast<std::size_t>(statistics.num_experts);
    std::vector<double> load(statistics.num_iterations * num_experts);
    double* sums = load.data();
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration) {
        for (int source = 0; source < statistics.num_sources; ++source) {
            const std::span<const std::int64_t> row = statistics.row(iteration, layer, source);
            for (std::size_t expert = 0; expert < num_experts; ++expert)
                sums[expert] += static_cast<double>(row[expert]);  // exact below 2^53
        }
        sums += num_experts;
    }
    return {statistics.num_iterations, statistics.num_experts, std::move(load)};
}

LayerLoad recorded_rank_load(const ExpertStatistics& statistics, int layer, int ep_size) {
    assert(statistics.num_experts % ep_size == 0);
    const int per_rank = statistics.num_experts / ep_size;
    std::vector<double> load;
    load.reserve(static_cast<std::size_t>(statistics.num_iterations) * ep_size);
    std::vector<std::int64_t> sums;
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration) {
        sums.assign(ep_size, 0);
        for (int source = 0; source < statistics.num_sources; ++source) {
            auto expert = statistics.row(iteration, layer, source).begin();
            for (std::int64_t& sum : sums) {
                sum = std::accumulate(expert, expert + per_rank, sum);
                expert += per_rank;
            }
        }
        load.insert(load.end(), sums.begin(), sums.end());
    }
    return {statistics.num_iterations, ep_size, std::move(load)};
}

LayerLoad projected_load(const ExpertStatistics& statistics,
                         int layer,
                         std::span<const int> expert_ids) {
    require_expert_ids(statistics);
    return projected_load(recorded_load(statistics, layer), expert_ids);
}

LayerLoad projected_load(const LayerLoad& recorded, std::span<const int> expert_ids) {
    const std::vector<int> replicas = covering_replica_counts(expert_ids, recorded.num_bins);
    std::vector<double> load;
    load.reserve(recorded.num_iterations * expert_ids.size());
    for (int i = 0; i < recorded.num_iterations; ++i) {
        const std::span<const double> experts = recorded.iteration(i);
        for (const int expert : expert_ids)
            load.push_back(experts[expert] / replicas[expert]);
    }
    return {recorded.num_iterations, static_cast<int>(expert_ids.size()), std::move(load)};
}

int bins_per_rank(const LayerLoad& load, int ep_size) {
    if (ep_size < 1 || load.num_bins % ep_size != 0)
        throw Error("ep_size " + std::to_string(ep_size) + " does not divide the " +
                    std::to_string(load.num_bins) + " slots");
    return load.num_bins / ep_size;
}

LayerLoad rank_load(const LayerLoad& slot_load, int ep_size) {
    const int slots_per_rank = bins_per_rank(slot_load, ep_size);
    std::vector<double> load;
    load.reserve(static_cast<std::size_t>(slot_load.num_iterations) * ep_size);
    for (int i = 0; i < slot_load.num_iterations; ++i) {
        const std::span<const double> slots = slot_load.iteration(i);
        for (int first = 0; first < slot_load.num_bins; first += slots_per_rank) {
            double sum = 0;
            for (int slot = first; slot < first + slots_per_rank; ++slot)
                sum += slots[slot];
            load.push_back(sum);
        }
    }
    return {slot_load.num_iterations, ep_size, std::move(load)};
}

}  // namespace eplb
