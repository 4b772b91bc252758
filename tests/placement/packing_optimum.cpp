#include "tests/placement/packing_optimum.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <unordered_set>
#include <utility>

namespace eplb::test {
namespace {

// of loads that differ by rounding alone
constexpr double kRounding = 1e-12;

using ExpertSet = std::uint32_t;  // a bit for each, the heaviest lowest

class Packing {
  public:
    Packing(std::vector<double> load, int ep_size)
        : load_(std::move(load)),
          slots_per_rank_(static_cast<int>(load_.size()) / ep_size),
          total_(std::accumulate(load_.begin(), load_.end(), 0.0)) {
        std::sort(load_.begin(), load_.end(), std::greater<>());
    }

    // Below the fullest rank of the best packing known there is another, until there is none.
    double optimum() {
        const auto all = static_cast<ExpertSet>((std::uint64_t{1} << load_.size()) - 1);
        double best = std::numeric_limits<double>::infinity();
        limit_ = total_ + 1;
        while (fill(all, total_, 0)) {
            best = fullest_;
            limit_ = best * (1 - kRounding);
            refused_.clear();
        }
        return best;
    }

  private:
    // Whether the experts `left` go onto ranks of at most limit_, which fullest_ then tells. Ranks
    // are alike, so that the next one is that of the heaviest expert left.
    bool fill(ExpertSet left, double load_left, double fullest) {
        if (left == 0) {
            fullest_ = fullest;
            return true;
        }
        const int ranks_left = std::popcount(left) / slots_per_rank_;
        // what this rank leaves has to fit into the others
        const double least = load_left - limit_ * (ranks_left - 1) - kRounding * total_;
        if (least > limit_ || refused_.contains(left))
            return false;
        const int heaviest = std::countr_zero(left);
        std::vector<std::vector<int>> choices;
        std::vector<int> chosen = {heaviest};
        list_choices(left, load_[heaviest], chosen, choices);
        for (const std::vector<int>& rank : choices) {
            ExpertSet rest = left;
            double load = 0;
            for (const int expert : rank) {
                rest &= ~(ExpertSet{1} << expert);
                load += load_[expert];
            }
            if (load >= least && fill(rest, load_left - load, std::max(fullest, load)))
                return true;
        }
        refused_.insert(left);
        return false;
    }

    // The contents of a rank, of which chosen is a part, that fit; heaviest first. Those whose
    // experts could each be exchanged for a heavier one that is left are not needed: the exchange
    // makes the other ranks lighter.
    void list_choices(ExpertSet left,
                      double load,
                      std::vector<int>& chosen,
                      std::vector<std::vector<int>>& choices) const {
        if (load > limit_)
            return;
        if (static_cast<int>(chosen.size()) == slots_per_rank_) {
            if (!can_be_heavier(left, load, chosen))
                choices.push_back(chosen);
            return;
        }
        for (int expert = chosen.back() + 1; expert < static_cast<int>(load_.size()); ++expert)
            if ((left >> expert & 1U) != 0) {
                chosen.push_back(expert);
                list_choices(left, load + load_[expert], chosen, choices);
                chosen.pop_back();
            }
    }

    // By an exchange of one expert, beside the first, for the next heavier one that is left.
    bool can_be_heavier(ExpertSet left, double load, const std::vector<int>& chosen) const {
        for (std::size_t i = 1; i < chosen.size(); ++i) {
            int heavier = chosen[i] - 1;
            while ((left >> heavier & 1U) == 0)
                --heavier;
            if (heavier != chosen[i - 1] && load - load_[chosen[i]] + load_[heavier] <= limit_)
                return true;
        }
        return false;
    }

    std::vector<double> load_;  // descending
    int slots_per_rank_;
    double total_;
    double limit_ = 0;
    double fullest_ = 0;
    std::unordered_set<ExpertSet> refused_;  // that do not go onto ranks of at most limit_
};

}  // namespace

double packing_optimum(const std::vector<double>& load, int ep_size) {
    return Packing(load, ep_size).optimum();
}

double pairing_optimum(std::vector<double> load) {
    std::sort(load.begin(), load.end());
    double fullest = 0;
    for (std::size_t i = 0; i < load.size() / 2; ++i)
        fullest = std::max(fullest, load[i] + load[load.size() - 1 - i]);
    return fullest;
}

}  // namespace eplb::test
