#ifndef EPLB_PLACEMENT_ROUTE_REPLAYED_TRAFFIC_H
#define EPLB_PLACEMENT_ROUTE_REPLAYED_TRAFFIC_H

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/route/slot_router.h"

// How far a placement sends tokens, counted: each id goes to the slot that the engine's round robin
// chooses (slot_router.h). traffic.h has the same by chance, which plans need.
//
// A token goes once to every rank that computes one of its experts, its own rank included, however
// many of them are there. Upstream's report_send_ranks_per_token takes the replicas of an expert
// for independent chances, and so counts too little where a rank holds several: a rank with two of
// R is reached with 2 / R, not 1 - (1 - 1 / R)^2.
namespace eplb {

// Of one layer. Totals over the recording; tokens without any routed expert are in none of them.
struct ReplayedTraffic {
    int num_sources = 0;  // ranks of the recording
    int ep_size = 0;      // ranks of the placement

    std::vector<std::int64_t> num_tokens;  // [num_iterations]
    std::int64_t num_ids = 0;              // what would be sent if no two experts shared a rank
    std::vector<std::int64_t> sends;       // [num_sources][ep_size]: tokens, once per rank
    std::int64_t num_node_sends = 0;       // tokens, once per node
    std::int64_t num_pairs = 0;            // of experts that serve a token, each pair once
    std::int64_t num_pairs_within_rank = 0;

    // Where the placement has other ranks than the recording, nobody knows which one a token
    // starts from.
    bool knows_own_rank() const { return num_sources == ep_size; }

    std::int64_t total_tokens() const;
    std::int64_t total_sends() const;
    std::int64_t sends_to_own_rank() const;  // requires knows_own_rank()

    // All are NaN where there is nothing to divide by.
    double ranks_per_token() const;         // 1 to the lesser of top_k and ep_size
    double nodes_per_token() const;         // 1 to the lesser of top_k and num_nodes
    double remote_ranks_per_token() const;  // 0 to ranks_per_token(); requires knows_own_rank()
    double saved_share() const;             // 1 - sends / ids; 0 to 1 - 1 / top_k, best high
    double within_rank_share() const;       // 0 to 1, best 1
};

// Counts the tokens of one layer, cell by cell. Where recorded ids are slots, a placement that
// holds them in order counts them as they are.
class TrafficReplay {
  public:
    // Nodes are num_nodes blocks of neighbouring ranks, of one size.
    // Error: num_nodes does not divide ep_size, an expert between others stands in no slot.
    TrafficReplay(const Placement& placement,
                  int top_k,
                  int num_sources,
                  int num_iterations,
                  int num_nodes = 1);

    // A cell: what one source rank routed in one iteration, a position from 0. [num_tokens][top_k],
    // -1: not routed. The ids of a token differ, as every router's do. They are taken for one
    // chunk: routing blocks begin with it. Several threads may add at once; sums of integers do not
    // depend on their order.
    // Error: an id is of no expert in the placement.
    void add(int iteration, int source, std::span<const std::int32_t> ids);

    const ReplayedTraffic& traffic() const { return traffic_; }

  private:
    int num_experts_;
    std::size_t top_k_;
    int slots_per_rank_;
    int num_nodes_;
    SlotRouter router_;
    std::mutex mutex_;  // of traffic_
    ReplayedTraffic traffic_;
};

}  // namespace eplb

#endif
