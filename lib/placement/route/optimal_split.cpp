#include "lib/placement/route/optimal_split.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>

namespace eplb {
namespace {

// A placement as a graph: which experts can be divided, among which ranks.
struct SplitGraph {
    std::vector<int> only_rank;       // [num_experts]: the one that holds it; -1: several do
    std::vector<int> divisible;       // experts of which several ranks hold replicas
    std::vector<int> first_edge;      // [divisible + 1]
    std::vector<int> rank_of_edge;    // [edges], ascending within an expert
    std::vector<int> expert_of_edge;  // [edges], positions in divisible
    std::vector<int> first_of_rank;   // [ep_size + 1]
    std::vector<int> edges_of_rank;   // [edges], by rank

    explicit SplitGraph(const Placement& placement, int num_experts) {
        covering_replica_counts(placement.expert_ids, num_experts);
        std::vector<std::vector<int>> ranks(num_experts);
        for (int rank = 0; rank < placement.ep_size; ++rank)
            for (const int expert : placement.rank(rank)) {
                std::vector<int>& found = ranks[expert];
                if (found.empty() || found.back() != rank)
                    found.push_back(rank);
            }
        first_edge.push_back(0);
        for (int expert = 0; expert < num_experts; ++expert) {
            const std::vector<int>& found = ranks[expert];
            only_rank.push_back(found.size() == 1 ? found.front() : -1);
            if (found.size() == 1)
                continue;
            for (const int rank : found) {
                rank_of_edge.push_back(rank);
                expert_of_edge.push_back(static_cast<int>(divisible.size()));
            }
            divisible.push_back(expert);
            first_edge.push_back(static_cast<int>(rank_of_edge.size()));
        }
        index_ranks(placement.ep_size);
    }

    int num_edges() const { return static_cast<int>(rank_of_edge.size()); }

  private:
    void index_ranks(int ep_size) {
        first_of_rank.assign(ep_size + 1, 0);
        for (const int rank : rank_of_edge)
            ++first_of_rank[rank + 1];
        std::partial_sum(first_of_rank.begin(), first_of_rank.end(), first_of_rank.begin());
        edges_of_rank.resize(rank_of_edge.size());
        std::vector<int> next(first_of_rank.begin(), first_of_rank.end() - 1);
        for (int edge = 0; edge < num_edges(); ++edge)
            edges_of_rank[next[rank_of_edge[edge]]++] = edge;
    }
};

struct Fraction {
    std::int64_t numerator = 0;
    std::int64_t denominator = 1;

    double value() const {
        return static_cast<double>(numerator) / static_cast<double>(denominator);
    }
};

// One layer; its memory serves all iterations.
class SplitSolver {
  public:
    SplitSolver(const Placement& placement, int num_experts)
        : graph_(placement, num_experts),
          ep_size_(placement.ep_size),
          load_(graph_.divisible.size()),
          left_(load_.size()),
          flow_(graph_.rank_of_edge.size()),
          via_edge_(ep_size_),
          from_edge_(load_.size()) {}

    // load: [num_experts]
    double solve(std::span<const double> load) {
        fixed_.assign(ep_size_, 0);
        std::int64_t total = 0;
        for (std::size_t expert = 0; expert < load.size(); ++expert) {
            const auto tokens = static_cast<std::int64_t>(load[expert]);
            total += tokens;
            if (graph_.only_rank[expert] >= 0)
                fixed_[graph_.only_rank[expert]] += tokens;
        }
        for (int i = 0; i < num_divisible(); ++i)
            load_[i] = static_cast<std::int64_t>(load[graph_.divisible[i]]);

        const std::int64_t largest = *std::max_element(fixed_.begin(), fixed_.end());
        Fraction limit{total, ep_size_};
        if (largest * ep_size_ > total)
            limit = {largest, 1};
        while (!fits(limit))
            limit = load_of_cut();
        return limit.value();
    }

  private:
    static constexpr int kNone = -1;  // not reached
    static constexpr int kRoot = -2;  // reached, from the source

    int num_divisible() const { return static_cast<int>(load_.size()); }
    int rank_of(int edge) const { return graph_.rank_of_edge[edge]; }

    // Whether no rank need be above the limit. If not, via_edge_ marks the ranks of a minimum cut.
    bool fits(const Fraction& limit) {
        // in units of 1 / denominator of a token
        room_.resize(ep_size_);
        for (int rank = 0; rank < ep_size_; ++rank)
            room_[rank] = limit.numerator - fixed_[rank] * limit.denominator;
        for (int i = 0; i < num_divisible(); ++i)
            left_[i] = load_[i] * limit.denominator;
        pour();
        for (int i = 0; i < num_divisible(); ++i)
            while (left_[i] > 0)
                if (!augment(i))
                    return false;
        return true;
    }

    // A good flow to begin with: each expert to its ranks, the one with most room first.
    void pour() {
        for (int i = 0; i < num_divisible(); ++i) {
            const int begin = graph_.first_edge[i];
            const int end = graph_.first_edge[i + 1];
            std::fill(flow_.begin() + begin, flow_.begin() + end, 0);
            for (int turn = begin; turn < end && left_[i] > 0; ++turn) {
                int best = begin;
                for (int edge = begin + 1; edge < end; ++edge)
                    if (room_[rank_of(edge)] > room_[rank_of(best)])
                        best = edge;
                const int rank = rank_of(best);
                const std::int64_t moved = std::min(left_[i], room_[rank]);
                flow_[best] += moved;
                room_[rank] -= moved;
                left_[i] -= moved;
            }
        }
    }

    // Breadth first from a divisible expert to a rank with room: along any edge to a rank, back
    // along edges with flow. Moves what it can; false where there is no such path, and then the
    // ranks reached are full and hold nothing that could go elsewhere.
    bool augment(int root) {
        std::fill(via_edge_.begin(), via_edge_.end(), kNone);
        std::fill(from_edge_.begin(), from_edge_.end(), kNone);
        from_edge_[root] = kRoot;
        queue_.assign(1, root);
        for (std::size_t head = 0; head < queue_.size(); ++head) {
            const int expert = queue_[head];
            for (int edge = graph_.first_edge[expert]; edge < graph_.first_edge[expert + 1];
                 ++edge) {
                const int rank = rank_of(edge);
                if (via_edge_[rank] != kNone)
                    continue;
                via_edge_[rank] = edge;
                if (room_[rank] > 0) {
                    push(rank);
                    return true;
                }
                for (int i = graph_.first_of_rank[rank]; i < graph_.first_of_rank[rank + 1]; ++i) {
                    const int back = graph_.edges_of_rank[i];
                    int& reached = from_edge_[graph_.expert_of_edge[back]];
                    if (flow_[back] == 0 || reached != kNone)
                        continue;
                    reached = back;
                    queue_.push_back(graph_.expert_of_edge[back]);
                }
            }
        }
        return false;
    }

    // Along the path that augment() found, from its end.
    void push(int last_rank) {
        std::int64_t moved = room_[last_rank];
        const auto walk = [&](auto&& visit) {
            int rank = last_rank;
            while (true) {
                const int edge = via_edge_[rank];
                const int expert = graph_.expert_of_edge[edge];
                const int back = from_edge_[expert];
                visit(edge, back, expert);
                if (back == kRoot)
                    return;
                rank = rank_of(back);
            }
        };
        walk([&](int, int back, int expert) {
            moved = std::min(moved, back == kRoot ? left_[expert] : flow_[back]);
        });
        room_[last_rank] -= moved;
        walk([&](int edge, int back, int expert) {
            flow_[edge] += moved;
            if (back == kRoot)
                left_[expert] -= moved;
            else
                flow_[back] -= moved;
        });
    }

    // What the ranks of the cut cannot pass on, over their number.
    Fraction load_of_cut() const {
        Fraction load{0, 0};
        for (int rank = 0; rank < ep_size_; ++rank)
            if (via_edge_[rank] != kNone) {
                load.numerator += fixed_[rank];
                ++load.denominator;
            }
        for (int i = 0; i < num_divisible(); ++i) {
            bool is_confined = true;
            for (int edge = graph_.first_edge[i]; edge < graph_.first_edge[i + 1]; ++edge)
                is_confined = is_confined && via_edge_[rank_of(edge)] != kNone;
            if (is_confined)
                load.numerator += load_[i];
        }
        return load;
    }

    SplitGraph graph_;
    int ep_size_;
    std::vector<std::int64_t> fixed_;  // [ep_size]: of experts that it alone holds
    std::vector<std::int64_t> load_;   // [divisible]
    // of a flow, in units of 1 / denominator
    std::vector<std::int64_t> room_;  // [ep_size]
    std::vector<std::int64_t> left_;  // [divisible]: not yet placed
    std::vector<std::int64_t> flow_;  // [edges]
    // of a search
    std::vector<int> via_edge_;   // [ep_size]: the edge that reached it
    std::vector<int> from_edge_;  // [divisible]: the edge with flow that reached it
    std::vector<int> queue_;      // divisible experts
};

}  // namespace

std::vector<double> optimal_max_load(const LayerLoad& expert_load, const Placement& placement) {
    SplitSolver solver(placement, expert_load.num_bins);
    std::vector<double> optimum;
    optimum.reserve(expert_load.num_iterations);
    for (int i = 0; i < expert_load.num_iterations; ++i)
        optimum.push_back(solver.solve(expert_load.iteration(i)));
    return optimum;
}

}  // namespace eplb
