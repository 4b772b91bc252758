#ifndef EPLB_PLACEMENT_SEARCH_RISK_SEARCH_H
#define EPLB_PLACEMENT_SEARCH_RISK_SEARCH_H

#include <cstddef>
#include <span>
#include <vector>

#include "lib/placement/problem/placement_problem.h"
#include "lib/placement/problem/slot_table.h"

namespace eplb {

// Lowers what the hottest rank of an iteration is expected to carry.
//
// With mu_jw the load that rank j has of workload w on average and V_j its variance from iteration
// to iteration, the search lowers
//
//   Q = sum over w of weight_w * sum over j of exp(beta (mu_jw - 1) + beta^2 V_j / 2)
//
// (loads divided by the rank's speed). For normal loads, ln(Q) / beta is an upper bound of the
// expected imbalance, for every beta > 0 (Jensen; the maximum is at most the soft maximum). It
// keeps experts apart that rise together, and gives no workload away for another.
class RiskSearch {
  public:
    // problem.covariance may be null: then only the workloads differ. The problem outlives the
    // search.
    RiskSearch(const PlacementProblem& problem, SlotTable table);

    const SlotTable& table() const { return table_; }

    // Sets beta to what fits the spread of the ranks' loads now.
    void fit_beta();
    double beta() const { return beta_; }
    void set_beta(double beta);

    double risk() const;  // ln(Q) / beta

    // Lets a descent also lower how many ranks a token is sent to, where `weight` of imbalance is a
    // fair price for one rank less per routed id; 0: it does not count. Needs cooccurrence.
    void set_traffic_weight(double weight);

    // How many sends per token the placement saves, nearly: pairs of a token's experts on one rank.
    double saved_sends() const;

    // The best exchange of each pair of ranks, and replicas given to other experts, until neither
    // helps any more or so many rounds are done.
    void descend(int max_rounds);

    // Exchanges that bring the summed load of the fullest rank down to `limit` where they can,
    // each the one that adds least to the variances.
    void limit_fullest(double limit);
    double fullest_load() const;

    // Single steps, for a search that counts them. The gains are what Q / exp(offset) would fall
    // by, comparable with each other and with penalties while beta stays.
    double rank_penalty(int rank_id) const { return ranks_[rank_id].penalty; }
    double swap_gain(int slot, int other) const;  // the slots are on two ranks
    void swap(int slot, int other);
    // The slot's expert, which has another replica, loses one to `expert`. hosts[expert]: the
    // ranks that hold it.
    double replica_gain(int slot, int expert, const std::vector<std::vector<int>>& hosts) const;
    void move_replica(int slot, int expert);

  private:
    struct Rank {
        double load = 0;      // of the summed counts, not divided by the speed
        double average = 0;   // of its means over workloads, by weight
        double variance = 0;  // V_j, likewise
        double together = 0;  // sends saved
        double penalty = 0;   // the rank's part of Q / exp(offset_), less the price of sends saved
    };
    // A change of what ranks carry: u replicas of one expert more, z of another.
    struct Change {
        int expert;
        double u;
        int other;
        double z;
    };

    double penalty_after(int rank_id, const Change& change) const;
    double penalty(int rank_id,
                   std::span<const double> means,
                   double variance,
                   double together) const;
    void apply(int rank_id, const Change& change);  // before the table changes
    void refresh(int rank_id);                      // after it
    void build();
    void average_loads();
    double exponent(int rank_id, std::size_t workload) const;  // of the rank's term of Q
    double relative_risk() const;                              // Q / exp(offset_)
    int fullest_rank() const;

    // What an exchange of two slots between two ranks needs of one of them. The exponents of both
    // ranks after the exchange (at the mean load over workloads) are sums of `first` and of
    // `second` over the two slots, plus a term of the covariance between them.
    struct Movable {
        int slot;
        double share;      // of the expert that the replica takes
        double deviation;  // of its load, standard
        double first;
        double second;
    };
    void list_movable(int rank_id,
                      int other_rank,
                      bool leaves,
                      std::vector<Movable>& movable) const;
    void list_least_exponents(const Movable& leaves, double quadratic, double other_quadratic);
    bool improve_pair(int rank_id, int other_rank);
    bool swap_pass();

    Change replica_change(int rank_id, int slot, int expert) const;
    bool replica_pass();

    double share(int expert) const { return inverse_count_[expert]; }
    // a rank's row of with_experts_ or taken_with_
    template <typename Rows>
    auto row_of(Rows& rows, int rank_id) const {
        return std::span(rows).subspan(static_cast<std::size_t>(rank_id) * num_experts_,
                                       num_experts_);
    }
    std::span<double> means(int rank_id) {
        return std::span(means_).subspan(static_cast<std::size_t>(rank_id) * num_workloads_,
                                         num_workloads_);
    }
    std::span<const double> means(int rank_id) const {
        return std::span(means_).subspan(static_cast<std::size_t>(rank_id) * num_workloads_,
                                         num_workloads_);
    }

    const PlacementProblem* problem_;
    const ExpertMatrix* covariance_;    // may be null
    const ExpertMatrix* cooccurrence_;  // likewise
    SlotTable table_;
    std::size_t num_experts_;
    std::size_t num_workloads_;
    double beta_ = 1;
    std::vector<double> expert_loads_;   // [num_experts][num_workloads]
    std::vector<double> average_load_;   // [num_experts], over workloads by weight
    std::vector<double> deviation_;      // [num_experts], roots of the variances
    std::vector<double> inverse_count_;  // [num_experts], 1 / replicas
    std::vector<double> with_experts_;   // [ep_size][num_experts]: covariance of a rank with each
    std::vector<double> taken_with_;     // [ep_size][num_experts]: pairs of a rank with each
    double offset_ = 0;                  // the largest exponent when beta was set
    double traffic_weight_ = 0;
    double send_price_ = 0;                // of a send saved, in units of Q / exp(offset_)
    std::vector<double> means_;            // [ep_size][num_workloads]
    std::vector<Rank> ranks_;              // [ep_size]
    mutable std::vector<double> scratch_;  // [num_workloads]
    std::vector<Movable> movable_;         // scratch of improve_pair()
    std::vector<Movable> other_movable_;
    std::vector<float> other_first_;  // of other_movable_
    std::vector<float> other_second_;
    std::vector<float> other_deviation_;
    std::vector<float> least_exponents_;

    // when a rank changed last, and when a pair was last looked at
    int time_ = 0;
    std::vector<int> changed_at_;  // [ep_size]
    std::vector<int> looked_at_;   // [ep_size][ep_size]
};

}  // namespace eplb

#endif
