#include "lib/placement/upstream/replication.h"

#include <numeric>
#include <queue>
#include <string>
#include <utility>

#include "lib/base/error.h"

namespace eplb {
namespace {

std::vector<int> deal_evenly(int num_experts, int num_slots) {
    std::vector<int> replica_count(num_experts, num_slots / num_experts);
    for (int expert = 0; expert < num_slots % num_experts; ++expert)
        ++replica_count[expert];
    return replica_count;
}

}  // namespace

std::vector<int> replicate_greedy(std::span<const float> load, int num_slots) {
    const auto num_experts = static_cast<int>(load.size());
    if (num_experts == 0 || num_slots < num_experts)
        throw Error("replication: " + std::to_string(num_slots) + " slots cannot hold " +
                    std::to_string(num_experts) + " experts");
    if (num_slots == num_experts || std::accumulate(load.begin(), load.end(), 0.0) == 0)
        return deal_evenly(num_experts, num_slots);

    // largest share first; pairs compare their ids on a tie, so the higher id comes first
    std::vector<std::pair<double, int>> shares(load.size());
    for (int expert = 0; expert < num_experts; ++expert)
        shares[expert] = {load[expert], expert};
    std::priority_queue<std::pair<double, int>> heap(std::less<std::pair<double, int>>(),
                                                     std::move(shares));

    std::vector<int> replica_count(load.size(), 1);
    for (int num_used = num_experts; num_used < num_slots; ++num_used) {
        const int expert = heap.top().second;
        heap.pop();
        ++replica_count[expert];
        const double share = static_cast<double>(load[expert]) / replica_count[expert];
        heap.emplace(share, expert);
    }
    return replica_count;
}

}  // namespace eplb
