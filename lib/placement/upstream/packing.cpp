#include "lib/placement/upstream/packing.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"

namespace eplb {
namespace {

void check_counts(std::span<const float> load,
                  std::span<const int> replica_count,
                  int ep_size,
                  int slots_per_rank) {
    if (load.size() != replica_count.size())
        throw Error("packing: " + std::to_string(load.size()) + " loads but " +
                    std::to_string(replica_count.size()) + " replica counts");
    const int num_replicas = std::accumulate(replica_count.begin(), replica_count.end(), 0);
    if (num_replicas != ep_size * slots_per_rank)
        throw Error("packing: " + std::to_string(num_replicas) + " replicas for " +
                    std::to_string(ep_size) + " ranks with " + std::to_string(slots_per_rank) +
                    " slots each: the numbers must agree");
}

// What each replica of an expert carries; largest first, lower ids first on a tie.
std::vector<std::pair<double, int>> shares_descending(std::span<const float> load,
                                                      std::span<const int> replica_count) {
    std::vector<std::pair<double, int>> shares;
    shares.reserve(load.size());
    for (std::size_t expert = 0; expert < load.size(); ++expert)
        if (replica_count[expert] > 0)
            shares.emplace_back(static_cast<double>(load[expert]) / replica_count[expert],
                                static_cast<int>(expert));
    std::sort(shares.begin(), shares.end(), [](const auto& left, const auto& right) {
        return left.first != right.first ? left.first > right.first : left.second < right.second;
    });
    return shares;
}

}  // namespace

Placement pack_greedy(std::span<const float> load,
                      std::span<const int> replica_count,
                      int ep_size,
                      int slots_per_rank) {
    check_counts(load, replica_count, ep_size, slots_per_rank);
    Placement placement{ep_size, slots_per_rank, {}};
    placement.expert_ids.resize(placement.num_slots());

    // ranks with a free slot, least loaded first; pairs compare their ids on a tie
    std::vector<std::pair<double, int>> empty_ranks;
    empty_ranks.reserve(ep_size);
    for (int rank_id = 0; rank_id < ep_size; ++rank_id)
        empty_ranks.emplace_back(0.0, rank_id);
    std::priority_queue<std::pair<double, int>, std::vector<std::pair<double, int>>, std::greater<>>
        heap(std::greater<>(), std::move(empty_ranks));

    // the replicas of an expert carry the same, so that they follow each other in the order
    std::vector<int> num_used(ep_size);
    for (const auto& [share, expert] : shares_descending(load, replica_count))
        for (int i = 0; i < replica_count[expert]; ++i) {
            const auto [rank_load, rank_id] = heap.top();
            heap.pop();
            int& slot = num_used[rank_id];
            placement.rank(rank_id)[slot] = expert;
            if (++slot < slots_per_rank)
                heap.emplace(rank_load + share, rank_id);
        }
    return placement;
}

}  // namespace eplb
