#include "tests/placement/exhaustive.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace eplb::test {
namespace {

using Experts = std::vector<std::size_t>;  // of one rank

std::vector<Experts> all_ranks(const PlacementProblem& problem) {
    std::vector<Experts> ranks;
    for (unsigned mask = 0; mask < (1U << problem.load.size()); ++mask) {
        Experts experts;
        for (std::size_t expert = 0; expert < problem.load.size(); ++expert)
            if ((mask >> expert & 1U) != 0)
                experts.push_back(expert);
        if (static_cast<int>(experts.size()) == problem.slots_per_rank)
            ranks.push_back(std::move(experts));
    }
    return ranks;
}

// Chooses the experts of one rank after the other, in ascending order of ranks' contents: which of
// the chosen contents goes to which rank is decided at the end, by load and speed.
class Enumeration {
  public:
    explicit Enumeration(const PlacementProblem& problem)
        : problem_(problem),
          ranks_(all_ranks(problem)),
          replica_count_(problem.load.size()),
          speed_(problem.rank_speed),
          rank_load_(static_cast<std::size_t>(problem.ep_size)) {
        speed_.resize(problem.ep_size, 1.0);
        std::sort(speed_.begin(), speed_.end());
    }

    double best() {
        choose(0);
        return best_;
    }

  private:
    void choose(std::size_t first) {
        if (static_cast<int>(chosen_.size()) == problem_.ep_size) {
            best_ = std::min(best_, hottest());
            return;
        }
        for (std::size_t i = first; i < ranks_.size(); ++i) {
            chosen_.push_back(i);
            for (const std::size_t expert : ranks_[i])
                ++replica_count_[expert];
            choose(i);
            for (const std::size_t expert : ranks_[i])
                --replica_count_[expert];
            chosen_.pop_back();
        }
    }

    double hottest() {
        for (const int count : replica_count_)
            if (count < problem_.min_replicas)
                return std::numeric_limits<double>::infinity();
        for (std::size_t rank = 0; rank < chosen_.size(); ++rank) {
            rank_load_[rank] = 0;
            for (const std::size_t expert : ranks_[chosen_[rank]])
                rank_load_[rank] += problem_.load[expert] / replica_count_[expert];
        }
        std::sort(rank_load_.begin(), rank_load_.end());
        double hottest = 0;
        for (std::size_t rank = 0; rank < rank_load_.size(); ++rank)
            hottest = std::max(hottest, rank_load_[rank] / speed_[rank]);
        return hottest;
    }

    const PlacementProblem& problem_;
    std::vector<Experts> ranks_;
    std::vector<std::size_t> chosen_;  // into ranks_
    std::vector<int> replica_count_;
    std::vector<double> speed_;  // ascending
    std::vector<double> rank_load_;
    double best_ = std::numeric_limits<double>::infinity();
};

}  // namespace

double exhaustive_optimum(const PlacementProblem& problem) {
    return Enumeration(problem).best();
}

}  // namespace eplb::test
