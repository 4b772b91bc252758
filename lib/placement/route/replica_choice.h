#ifndef EPLB_PLACEMENT_ROUTE_REPLICA_CHOICE_H
#define EPLB_PLACEMENT_ROUTE_REPLICA_CHOICE_H

namespace eplb {

// Which replica of an expert takes a token.
enum class ReplicaChoice {
    round_robin,    // in turn, per expert and source rank: replica_replay.h
    equal_shares,   // as many tokens to each: projected_load()
    optimal_split,  // so that the fullest rank has the fewest tokens: optimal_split.h
};

}  // namespace eplb

#endif
