#ifndef EPLB_PLACEMENT_PROBLEM_DEPLOYMENT_H
#define EPLB_PLACEMENT_PROBLEM_DEPLOYMENT_H

#include <vector>

namespace eplb {

// What there is to put experts on.
struct Deployment {
    int ep_size = 0;    // >= 1
    int num_slots = 0;  // a multiple of ep_size, >= num_experts * min_replicas

    // Above 1: ranks come in nodes of equal size, and each expert stays on one node; all experts of
    // a group too (a router that limits a token to few groups then limits it to few nodes).
    int num_nodes = 1;
    int num_groups = 1;  // 1, or a multiple of num_nodes that divides num_experts

    int min_replicas = 1;                 // 2: no rank's loss takes an expert away
    std::vector<double> rank_speed = {};  // [ep_size], above 0, any unit; empty: all alike

    int slots_per_rank() const { return num_slots / ep_size; }

    bool operator==(const Deployment&) const = default;
};

// Each throws the Error that says what is wrong with a deployment for num_experts experts.
void check_slots(const Deployment& deployment, int num_experts);  // comes first
void check_speeds(const Deployment& deployment, int num_experts);
// What DeepSeek's program asks for, and what the searches do beyond it.
void check_groups_and_nodes(const Deployment& deployment, int num_experts);
void check_search(const Deployment& deployment, int num_experts);

}  // namespace eplb

#endif
