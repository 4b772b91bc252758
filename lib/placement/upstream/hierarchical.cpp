#include "lib/placement/upstream/hierarchical.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>
#include <vector>

#include "lib/placement/problem/deployment.h"

namespace eplb {
namespace {

// Positions of items in packs: pack p holds order[p * pack_size] … in the order of their arrival.
// Items by load, largest first (tie: lower item), each to the lightest pack with room (tie: lower
// pack). Packs of one item keep the items' order instead.
std::vector<int> pack_items(std::span<const float> load, int num_packs) {
    const auto num_items = static_cast<int>(load.size());
    const int pack_size = num_items / num_packs;
    std::vector<int> items(load.size());
    std::iota(items.begin(), items.end(), 0);
    if (pack_size == 1)
        return items;
    const auto load_of = [&](int item) { return load[item]; };
    std::stable_sort(items.begin(), items.end(),
                     [&](int left, int right) { return load_of(left) > load_of(right); });

    using PackLoad = std::pair<float, int>;
    std::priority_queue<PackLoad, std::vector<PackLoad>, std::greater<>> lightest;
    for (int pack = 0; pack < num_packs; ++pack)
        lightest.emplace(0.0F, pack);
    std::vector<int> order(load.size());
    std::vector<int> num_packed(num_packs);
    for (const int item : items) {
        const auto [pack_load, pack] = lightest.top();
        lightest.pop();
        int& position = num_packed[pack];
        order[pack * pack_size + position] = item;
        if (++position < pack_size)
            lightest.emplace(pack_load + load_of(item), pack);
    }
    return order;
}

// The experts behind one node's slots before they are packed, and the load of each slot.
struct Replicas {
    std::vector<int> expert_ids;  // [num_slots], positions in the load that was given
    std::vector<float> load;      // [num_slots]
};

// One slot per expert, then each further slot to the largest load / replicas (tie: lower expert).
Replicas replicate(std::span<const float> load, int num_slots) {
    const auto heavier = [](const auto& left, const auto& right) {
        return left.first != right.first ? left.first < right.first : left.second > right.second;
    };
    std::priority_queue<std::pair<float, int>, std::vector<std::pair<float, int>>,
                        decltype(heavier)>
        heap(heavier);
    Replicas replicas;
    const int num_experts = static_cast<int>(load.size());
    for (int expert = 0; expert < num_experts; ++expert) {
        heap.emplace(load[expert], expert);
        replicas.expert_ids.push_back(expert);
    }
    std::vector<int> replica_count(load.size(), 1);
    const auto share = [&](int expert) {
        return load[expert] / static_cast<float>(replica_count[expert]);
    };
    for (int slot = num_experts; slot < num_slots; ++slot) {
        const int expert = heap.top().second;
        heap.pop();
        replicas.expert_ids.push_back(expert);
        ++replica_count[expert];
        heap.emplace(share(expert), expert);
    }
    for (const int expert : replicas.expert_ids)
        replicas.load.push_back(share(expert));
    return replicas;
}

// Experts in the order of the nodes that get them: [num_nodes][num_experts / num_nodes].
std::vector<int> assign_nodes(std::span<const float> load, int num_nodes, int num_groups) {
    const int group_size = static_cast<int>(load.size()) / num_groups;
    std::vector<float> group_load;
    for (int i = 0; i < num_groups; ++i) {
        const std::span<const float> group = load.subspan(i * group_size, group_size);
        // torch adds in an order that depends on the processor's vectors. Whole counts below 2^24
        // give the same sum in any order; above it this is the nearest to all of them.
        group_load.push_back(static_cast<float>(std::accumulate(group.begin(), group.end(), 0.0)));
    }
    std::vector<int> expert_ids;
    for (const int group : pack_items(group_load, num_nodes))
        for (int i = 0; i < group_size; ++i)
            expert_ids.push_back(group * group_size + i);
    return expert_ids;
}

// Replicates and packs the experts of one node; appends its slots to `slots`.
void place_node(std::span<const float> load,
                std::span<const int> node_experts,
                int num_ranks,
                int num_slots,
                std::vector<int>& slots) {
    std::vector<float> node_load;
    for (const int expert : node_experts)
        node_load.push_back(load[expert]);
    const Replicas replicas = replicate(node_load, num_slots);
    for (const int replica : pack_items(replicas.load, num_ranks)) {
        const int position = replicas.expert_ids[replica];
        slots.push_back(node_experts[position]);
    }
}

}  // namespace

Placement place_deepseek(
    std::span<const float> load, int ep_size, int num_slots, int num_nodes, int num_groups) {
    const Deployment deployment = {ep_size, num_slots, num_nodes, num_groups};
    const int num_experts = static_cast<int>(load.size());
    check_slots(deployment, num_experts);
    check_groups_and_nodes(deployment, num_experts);
    if (num_groups % num_nodes != 0)
        num_nodes = num_groups = 1;

    const std::vector<int> by_node = assign_nodes(load, num_nodes, num_groups);
    const int experts_per_node = num_experts / num_nodes;
    Placement placement{ep_size, num_slots / ep_size, {}};
    for (int node = 0; node < num_nodes; ++node)
        place_node(load, std::span(by_node).subspan(node * experts_per_node, experts_per_node),
                   ep_size / num_nodes, num_slots / num_nodes, placement.expert_ids);
    return placement;
}

}  // namespace eplb
