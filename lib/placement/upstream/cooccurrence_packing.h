#ifndef EPLB_PLACEMENT_UPSTREAM_COOCCURRENCE_PACKING_H
#define EPLB_PLACEMENT_UPSTREAM_COOCCURRENCE_PACKING_H

#include <span>

#include "lib/placement/placement.h"

namespace eplb {

// Where the replicas go so that experts of one token share a rank: TensorRT-LLM's
// do_placement_with_cooccurrence (ep_load_balancer/utils.py), result for result as far as its rules
// decide one. load, finite and >= 0, and replica_count are [num_experts]; the counts, usually of
// replicate_greedy(), sum to ep_size * slots_per_rank. cooccurrence is [num_experts][num_experts];
// in place of its diagonal stands -1e9, so that a rank takes an expert again only after all others.
//
// First each rank in turn takes the heaviest expert with a replica left, then again and again the
// one that cooccurs most with those it has, until the next would exceed alpha of its slots or of
// the average rank load; no other is tried then. What is left goes, heaviest replica first, to the
// least loaded rank (tie: lower rank) with a free slot. An expert may land twice on one rank.
//
// Arithmetic: load / count and the sums of cooccurrence, in the order in which the rank took its
// experts, are float32; loads of ranks, the average and the limits are double, the average of a
// total rounded to float32. Two things upstream leaves to its version of torch: the order of equal
// keys, since its sort is not stable (here: lower expert id first), and how float32 sums are added
// up (here the total is rounded once, and rows are added one after the other). The latter can
// matter only for totals above 2^24 and between experts that the rank has already.
//
// alpha is in [0, 1]. 0 leaves all to the last step. Above 1 upstream overfills ranks, hence an
// Error here. At 1 the ranks' own choices can use up every replica; upstream then fails ("No
// available expert replica."), while here the placement, which is complete, is returned.
Placement pack_cooccurrence(std::span<const float> load,
                            std::span<const int> replica_count,
                            std::span<const float> cooccurrence,
                            int ep_size,
                            int slots_per_rank,
                            double alpha = 0.8);

}  // namespace eplb

#endif
