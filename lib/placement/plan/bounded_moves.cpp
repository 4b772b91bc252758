#include "lib/placement/plan/bounded_moves.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>

#include "lib/base/error.h"
#include "lib/placement/plan/alignment.h"
#include "lib/placement/problem/slot_table.h"
#include "lib/placement/search/risk_search.h"

namespace eplb {
namespace {

// Ranks that something is taken off, from the hottest on, until a step gains. Cooler ones gain
// little.
constexpr int kHottestRanks = 4;

// Beta goes with how the ranks are loaded, which changes on the way.
constexpr int kStepsPerBeta = 16;

// Steps that gain less than this share of the hottest rank's penalty are not worth taking.
constexpr double kLeastGain = 5e-3;

// A step that takes back a move, or replaces one by another, is free; but what it gains still has
// to be compared with others.
constexpr double kPriceOfFreeStep = 0.5;

class Descent {
  public:
    Descent(const PlacementProblem& problem,
            const Deployment& deployment,
            const Placement& current,
            int max_moves)
        : problem_(problem),
          ranks_per_node_(deployment.ep_size / deployment.num_nodes),
          current_(current, problem.num_experts),
          max_moves_(max_moves),
          search_(problem, current_) {}

    // Each placement on the way. Beta changes, so that the descent need not end by itself; as many
    // steps as there are slots are more than it takes.
    template <typename See>
    void run(const See& see) {
        bool is_fitted = true;
        for (int step = 0; step < current_.num_slots(); ++step) {
            if (step % kStepsPerBeta == kStepsPerBeta - 1) {
                search_.fit_beta();
                is_fitted = true;
            }
            Step best = best_step();
            if (best.score == 0 && !is_fitted) {
                search_.fit_beta();
                best = best_step();
            }
            if (best.score == 0)
                return;
            take(best);
            is_fitted = false;
            see(search_.table().placement(), num_moves_);
        }
    }

  private:
    // An exchange of two slots, or a slot's replica given to another expert.
    struct Step {
        int slot = -1;
        int other = -1;   // slot of an exchange, or -1
        int expert = -1;  // that the replica goes to, or -1
        int num_moves = 0;
        double score = 0;  // gain per move
    };

    int node_of(int rank_id) const { return rank_id / ranks_per_node_; }

    // Of the summed load, what a replica carries if there are so many.
    double replica_load(int expert, int num_replicas) const {
        return problem_.load[expert] / num_replicas;
    }
    double replica_load(int expert) const {
        return replica_load(expert, search_.table().replicas(expert));
    }

    // By how much the rank's moves grow when one expert comes and another one goes.
    int added_moves(int rank_id, int comes, int goes) const {
        const SlotTable& table = search_.table();
        const bool is_new = table.copies(rank_id, comes) >= current_.copies(rank_id, comes);
        const bool was_new = table.copies(rank_id, goes) > current_.copies(rank_id, goes);
        return (is_new ? 1 : 0) - (was_new ? 1 : 0);
    }

    void consider(Step step, double gain, Step& best) const {
        if (gain <= least_gain_ || num_moves_ + step.num_moves > max_moves_)
            return;
        step.score = gain / (step.num_moves > 0 ? step.num_moves : kPriceOfFreeStep);
        if (step.score > best.score)
            best = step;
    }

    Step best_step() {
        std::vector<int> ranks(current_.ep_size());
        std::iota(ranks.begin(), ranks.end(), 0);
        std::stable_sort(ranks.begin(), ranks.end(), [&](int left, int right) {
            return search_.rank_penalty(left) > search_.rank_penalty(right);
        });
        least_gain_ = kLeastGain * search_.rank_penalty(ranks.front());
        ranks.resize(std::min<std::size_t>(ranks.size(), kHottestRanks));
        Step best;
        for (const int rank_id : ranks) {
            if (best.score > 0)
                break;
            consider_swaps(rank_id, best);
            consider_relief(rank_id, best);
            consider_replacement(rank_id, best);
        }
        return best;
    }

    // A slot of the rank for a lighter one of any other rank.
    void consider_swaps(int rank_id, Step& best) {
        const SlotTable& table = search_.table();
        const int first = rank_id * table.slots_per_rank();
        for (int other = 0; other < table.num_slots(); ++other) {
            const int other_rank = table.rank_of(other);
            const int comes = table.expert(other);
            if (node_of(other_rank) != node_of(rank_id) || table.hosts(rank_id, comes))
                continue;
            for (int slot = first; slot < first + table.slots_per_rank(); ++slot) {
                const int goes = table.expert(slot);
                if (table.hosts(other_rank, goes) || replica_load(goes) <= replica_load(comes))
                    continue;
                const int moves =
                    added_moves(rank_id, comes, goes) + added_moves(other_rank, goes, comes);
                if (num_moves_ + moves <= max_moves_)
                    consider({slot, other, -1, moves}, search_.swap_gain(slot, other), best);
            }
        }
    }

    bool may_lose_replica(int slot) const {
        const SlotTable& table = search_.table();
        const int expert = table.expert(slot);
        return table.replicas(expert) > problem_.min_replicas &&
               (static_cast<int>(search_.hosts(expert).size()) > problem_.min_replicas ||
                table.copies(table.rank_of(slot), expert) > 1);
    }

    void consider_replica(int slot, int expert, Step& best) {
        const SlotTable& table = search_.table();
        const int rank_id = table.rank_of(slot);
        if (table.hosts(rank_id, expert) ||
            node_of(search_.hosts(expert).front()) != node_of(rank_id))
            return;
        consider({slot, -1, expert, added_moves(rank_id, expert, table.expert(slot))},
                 search_.replica_gain(slot, expert), best);
    }

    // Another replica, anywhere, of an expert of the rank.
    void consider_relief(int rank_id, Step& best) {
        const SlotTable& table = search_.table();
        for (int slot = 0; slot < table.num_slots(); ++slot)
            if (table.rank_of(slot) != rank_id && may_lose_replica(slot))
                for (const int expert : table.rank(rank_id))
                    consider_replica(slot, expert, best);
    }

    // A replica of the rank given to any expert that is lighter with it.
    void consider_replacement(int rank_id, Step& best) {
        const SlotTable& table = search_.table();
        const int first = rank_id * table.slots_per_rank();
        for (int slot = first; slot < first + table.slots_per_rank(); ++slot)
            if (may_lose_replica(slot))
                for (int expert = 0; expert < table.num_experts(); ++expert)
                    if (replica_load(expert, table.replicas(expert) + 1) <
                        replica_load(table.expert(slot)))
                        consider_replica(slot, expert, best);
    }

    void take(const Step& step) {
        if (step.other < 0)
            search_.move_replica(step.slot, step.expert);
        else
            search_.swap(step.slot, step.other);
        num_moves_ += step.num_moves;
    }

    const PlacementProblem& problem_;
    int ranks_per_node_;
    SlotTable current_;
    int max_moves_;
    RiskSearch search_;
    int num_moves_ = 0;
    double least_gain_ = 0;
};

}  // namespace

MoveCurve best_points(std::vector<MovePoint> points) {
    std::stable_sort(points.begin(), points.end(), [](const MovePoint& a, const MovePoint& b) {
        return a.num_moves != b.num_moves ? a.num_moves < b.num_moves : a.imbalance < b.imbalance;
    });
    MoveCurve curve;
    for (MovePoint& point : points)
        if (curve.empty() || point.imbalance < curve.back().imbalance)
            curve.push_back(std::move(point));
    return curve;
}

void check_start(const Placement& current,
                 const Deployment& deployment,
                 int num_experts,
                 const std::string& name) {
    const SlotTable table(current, num_experts);
    const int ranks_per_node = deployment.ep_size / deployment.num_nodes;
    const int experts_per_group = num_experts / deployment.num_groups;
    const std::string remedy = "; no few moves change that, so leave out the bound on moves";
    int node_of_group = -1;
    for (int expert = 0; expert < num_experts; ++expert) {
        int num_ranks = 0;
        if (deployment.num_groups == 1 || expert % experts_per_group == 0)
            node_of_group = -1;
        for (int rank_id = 0; rank_id < deployment.ep_size; ++rank_id) {
            if (!table.hosts(rank_id, expert))
                continue;
            ++num_ranks;
            const int node = rank_id / ranks_per_node;
            if (node_of_group >= 0 && node_of_group != node)
                throw Error(name + ": has expert " + std::to_string(expert) +
                            (deployment.num_groups > 1 ? " or others of its group" : "") +
                            " on nodes " + std::to_string(node_of_group) + " and " +
                            std::to_string(node) + remedy);
            node_of_group = node;
        }
        if (num_ranks < deployment.min_replicas)
            throw Error(name + ": has expert " + std::to_string(expert) + " on " +
                        std::to_string(num_ranks) + " rank" + (num_ranks == 1 ? "" : "s") +
                        ", not " + std::to_string(deployment.min_replicas) + remedy);
    }
}

MoveCurve move_curve(const PlacementProblem& problem,
                     const Deployment& deployment,
                     const Placement& current,
                     int max_moves,
                     const std::function<double(const Placement&)>& imbalance) {
    std::vector<MovePoint> points = {{0, imbalance(current), current}};
    if (max_moves == 0 || problem.mean_load() == 0)
        return points;
    Descent(problem, deployment, current, max_moves)
        .run([&](const Placement& placement, int num_moves) {
            Placement kept = keep_slots(placement, current);
            assert(eplb::num_moves(kept, current) == num_moves);
            const double reached = imbalance(kept);
            points.push_back({num_moves, reached, std::move(kept)});
        });
    return best_points(std::move(points));
}

std::vector<std::size_t> distribute_moves(std::span<const MoveCurve> curves, int max_moves) {
    std::int64_t most = 0;
    for (const MoveCurve& curve : curves)
        most += curve.back().num_moves;
    const auto num_budgets = static_cast<std::size_t>(std::min<std::int64_t>(most, max_moves)) + 1;
    // the least sum of the imbalances so far with at most so many moves, and by which point of the
    // last curve
    std::vector<double> sums(num_budgets, 0.0);
    std::vector<std::vector<std::uint32_t>> chosen;  // [curves][num_budgets]
    for (const MoveCurve& curve : curves) {
        std::vector<double> next(num_budgets, std::numeric_limits<double>::infinity());
        std::vector<std::uint32_t> choice(num_budgets);
        for (std::size_t point = 0; point < curve.size(); ++point) {
            const auto moves = static_cast<std::size_t>(curve[point].num_moves);
            for (std::size_t budget = moves; budget < num_budgets; ++budget) {
                const double sum = sums[budget - moves] + curve[point].imbalance;
                if (sum < next[budget]) {
                    next[budget] = sum;
                    choice[budget] = static_cast<std::uint32_t>(point);
                }
            }
        }
        sums = std::move(next);
        chosen.push_back(std::move(choice));
    }
    std::vector<std::size_t> points(curves.size());
    std::size_t budget = num_budgets - 1;
    for (std::size_t curve = curves.size(); curve-- > 0;) {
        points[curve] = chosen[curve][budget];
        budget -= static_cast<std::size_t>(curves[curve][points[curve]].num_moves);
    }
    return points;
}

}  // namespace eplb
