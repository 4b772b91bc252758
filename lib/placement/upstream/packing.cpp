#include "lib/placement/upstream/packing.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
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

// Makes a heap of one whose first element alone may be too large.
void sink_first(std::vector<std::pair<double, int>>& heap) {
    std::size_t place = 0;
    for (std::size_t child = 1; child < heap.size(); child = 2 * place + 1) {
        if (child + 1 < heap.size() && heap[child + 1] < heap[child])
            ++child;
        if (heap[place] < heap[child])
            return;
        std::swap(heap[place], heap[child]);
        place = child;
    }
}

}  // namespace

Placement pack_greedy(std::span<const float> load,
                      std::span<const int> replica_count,
                      int ep_size,
                      int slots_per_rank) {
    check_counts(load, replica_count, ep_size, slots_per_rank);
    Placement placement{ep_size, slots_per_rank, {}};
    placement.expert_ids.resize(placement.num_slots());

    // a heap of the ranks with a free slot, least loaded first; pairs compare their ids on a tie
    std::vector<std::pair<double, int>> ranks;
    ranks.reserve(ep_size);
    for (int rank_id = 0; rank_id < ep_size; ++rank_id)
        ranks.emplace_back(0.0, rank_id);

    // the replicas of an expert carry the same, so that they follow each other in the order
    std::vector<int> num_used(ep_size);
    for (const auto& [share, expert] : shares_descending(load, replica_count))
        for (int i = 0; i < replica_count[expert]; ++i) {
            const int rank_id = ranks.front().second;
            int& slot = num_used[rank_id];
            placement.rank(rank_id)[slot] = expert;
            if (++slot < slots_per_rank) {
                ranks.front().first += share;
            } else {
                ranks.front() = ranks.back();
                ranks.pop_back();
            }
            sink_first(ranks);
        }
    return placement;
}

}  // namespace eplb
