#ifndef EPLB_PLACEMENT_SEARCH_RISK_SEARCH_H
#define EPLB_PLACEMENT_SEARCH_RISK_SEARCH_H

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "lib/placement/problem/placement_problem.h"
#include "lib/placement/problem/slot_table.h"

namespace eplb {

// What the hottest rank of an iteration is expected to carry, and what each step of a placement
// changes of it.
//
// With x_es the load of expert e in scenario s, r_e its replicas and V_j the variance of rank j
// around all scenarios, the risk is ln(Q) / beta of
//
//   Q = sum over s of weight_s * sum over j of exp(m_js + beta^2 V_j / 2 - beta)
//   m_js = sum over the experts e of j of x_es g(r_e)
//   g(r) = beta / r; or, where a load of 1 is n ids that scatter, n (exp(beta / (n r)) - 1)
//
// (loads divided by the rank's speed): the mean of exp(beta (load of the rank - 1)) where experts'
// ids are Poisson counts around their scenario and what comes besides is normal. It is an upper
// bound of the expected imbalance then, for every beta > 0 (Jensen; the maximum is at most the soft
// maximum). It keeps experts apart that rise together, gives no scenario away for another, and
// fears a single expert that carries a rank more than many that carry as much.
//
// Q is a sum of products over the experts of a rank, exp(x_es g(r_e)) each: a step multiplies the
// terms of the ranks that it touches by a few rows known beforehand, without an exp().
class RiskSearch {
  public:
    // The problem outlives the search.
    RiskSearch(const PlacementProblem& problem, SlotTable table);

    const PlacementProblem& problem() const { return *problem_; }
    const SlotTable& table() const { return table_; }
    // Ranks that hold an expert, each once, in no order.
    std::span<const int> hosts(int expert) const { return hosts_[expert]; }

    // Sets beta to what fits the spread of the ranks' loads now.
    void fit_beta();
    double beta() const { return beta_; }
    void set_beta(double beta);

    double risk() const;  // ln(Q) / beta

    // Lets steps also count how many ranks a token is sent to, where `weight` of imbalance is a
    // fair price for one rank less per routed id; 0: it does not count. Needs cooccurrence.
    void set_traffic_weight(double weight);

    // How many sends per token the placement saves, nearly: pairs of a token's experts on one rank.
    double saved_sends() const;

    // A rank's part of Q, less the price of its sends saved; in units of Q at the last rebuild().
    double rank_penalty(int rank_id) const { return ranks_[rank_id].penalty; }

    // What the sum of penalties would fall by. Stops early, with minus infinity, where it is sure
    // to be below `least`.
    double swap_gain(int slot, int other, double least = kAny);  // the slots are on two ranks
    // The slot's expert, which has another replica, loses one to `expert`.
    double replica_gain(int slot, int expert, double least = kAny);

    void swap(int slot, int other);
    void move_replica(int slot, int expert);

    // Exchanges that bring the summed load of the fullest rank down to `limit` where they can,
    // each the one that adds least to the penalties.
    void limit_fullest(double limit);
    double fullest_load() const;

    // Begins anew from the table: steps round a little, each.
    void rebuild();

  private:
    static constexpr double kAny = -std::numeric_limits<double>::infinity();

    struct Rank {
        double half_square = 0;  // beta^2 / 2, over the square of the speed
        double sum = 0;          // of its terms, without the variance
        double variance = 0;     // V_j, of loads that are not divided by the speed
        double together = 0;     // sends saved
        double penalty = 0;
    };
    // What a step does to one rank: its terms are multiplied by `num_factors` of factors_, and it
    // has u replicas' shares more of the step's first expert, z of its second.
    struct Effect {
        int rank_id;
        std::size_t first_factor;
        std::size_t num_factors;
        double u;
        double z;
    };
    // What exp(x g(r)) is for an expert's r replicas, and for one fewer or more.
    enum Power { kShare, kInverse, kFewer, kMore, kNumPowers };

    int speed_class(int rank_id) const { return speed_class_[rank_id]; }
    const float* power(int rank_id, int expert, Power power) const {
        const std::size_t row = (speed_class(rank_id) * num_experts_ + expert) * kNumPowers + power;
        return &powers_[row * num_terms_];
    }
    void set_powers(int expert);
    double exponent(double beta, double speed, int num_replicas) const;
    template <typename FactorOf>
    void sum_loads(int rank_id, const FactorOf& factor_of, std::vector<double>& sums) const;
    void set_exponents(int rank_id, double beta, std::vector<double>& exponents) const;
    bool is_representable(double beta) const;
    void set_quadratics(int rank_id);

    void begin_step(int expert, int other_expert);
    void add_effect(int rank_id, double u, double z) {
        effects_.push_back({rank_id, factors_.size(), 0, u, z});
    }
    void add_factor(int rank_id, int expert, Power kind, int times) {
        for (int i = 0; i < times; ++i)
            factors_.push_back(power(rank_id, expert, kind));
        effects_.back().num_factors += times;
    }
    void list_swap(int slot, int other);
    void list_replica(int slot, int expert);
    double gain_of_effects(double least) const;
    void apply_effects();

    double product_sum(const Effect& effect) const;
    double variance_after(const Effect& effect) const;
    double together_after(const Effect& effect) const;
    double penalty(const Rank& rank) const;
    double penalty_after(const Effect& effect) const;
    int fullest_rank() const;
    double load_of(int rank_id) const;

    const PlacementProblem* problem_;
    const ExpertMatrix* covariance_;    // may be null
    const ExpertMatrix* cooccurrence_;  // likewise
    SlotTable table_;
    std::size_t num_experts_;
    std::size_t num_terms_;  // scenarios, filled up to whole vectors
    double beta_ = 1;
    double offset_ = 0;  // ln(Q) + beta at the last rebuild()
    double traffic_weight_ = 0;
    double send_price_ = 0;  // of a send saved, in units of penalties

    std::vector<double> speeds_;           // each once
    std::vector<int> speed_class_;         // [ep_size], of speeds_
    std::vector<float> loads_;             // [num_experts][num_terms], of a whole expert
    std::vector<float> powers_;            // [speeds][num_experts][kNumPowers][num_terms]
    std::vector<float> terms_;             // [ep_size][num_terms], of Q, without the variance
    std::vector<float> with_experts_;      // [ep_size][num_experts]: covariance of a rank with each
    std::vector<float> taken_with_;        // [ep_size][num_experts]: pairs of a rank with each
    std::vector<Rank> ranks_;              // [ep_size]
    std::vector<std::vector<int>> hosts_;  // [num_experts]

    // the step that is looked at
    int expert_ = 0;
    int other_expert_ = 0;
    std::vector<Effect> effects_;
    std::vector<const float*> factors_;
};

}  // namespace eplb

#endif
