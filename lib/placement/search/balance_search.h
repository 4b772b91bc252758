#ifndef EPLB_PLACEMENT_SEARCH_BALANCE_SEARCH_H
#define EPLB_PLACEMENT_SEARCH_BALANCE_SEARCH_H

#include <span>
#include <vector>

#include "lib/placement/problem/placement_problem.h"
#include "lib/placement/problem/slot_table.h"

namespace eplb {

// Evens out the summed load of a placement by exchanges between the fullest rank and others: one
// expert for one, then two for two. Replica counts stay, and no rank gets an expert twice.
class BalanceSearch {
  public:
    // The loads of problem are those of its experts; `table` is the placement to begin with.
    BalanceSearch(const PlacementProblem& problem, SlotTable table);

    const SlotTable& table() const { return table_; }
    std::span<const double> rank_load() const { return rank_load_; }  // [ep_size], load / speed
    int fullest_rank() const;
    double fullest_load() const { return rank_load_[fullest_rank()]; }
    double share(int expert) const { return share_[expert]; }

    // Until the fullest rank is at `target` or below, or nothing makes it less full.
    void descend(double target);

    // Exchanges two slots, better or not.
    void swap(int slot, int other);

  private:
    struct Exchange {
        double fuller = 0;  // of the two ranks, after it
        int slots[2] = {-1, -1};
        int others[2] = {-1, -1};
    };
    void consider_single(int fullest, Exchange& best) const;
    void consider_double(int fullest, Exchange& best);
    void set_share(int expert);

    const PlacementProblem* problem_;
    SlotTable table_;
    std::vector<double> share_;      // [num_experts], load of one replica
    std::vector<double> rank_load_;  // [ep_size]
    struct Pair {
        double sum = 0;
        int slots[2] = {0, 0};
    };
    void list_pairs(int rank_id, std::vector<Pair>& pairs) const;
    std::vector<Pair> pairs_;
    std::vector<Pair> other_pairs_;
};

}  // namespace eplb

#endif
