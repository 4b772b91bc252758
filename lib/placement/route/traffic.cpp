#include "lib/placement/route/traffic.h"

#include <algorithm>
#include <cassert>
#include <string>
#include <vector>

#include "lib/base/error.h"

namespace eplb {
namespace {

// The places (ranks, or nodes) to which experts send their tokens, and how surely.
class Destinations {
  public:
    // Place p is slots [p * slots_per_place, (p + 1) * slots_per_place).
    Destinations(const Placement& placement, std::span<const int> replica_count, int num_places)
        : start_(replica_count.size() + 1), miss_(num_places, 1.0) {
        std::vector<std::vector<Hit>> hits(replica_count.size());
        const int slots_per_place = placement.num_slots() / num_places;
        std::vector<int> last_place(replica_count.size(), -1);
        std::vector<int> num_local(replica_count.size());
        for (int slot = 0; slot < placement.num_slots(); ++slot) {
            const int expert = placement.expert_ids[slot];
            const int place = slot / slots_per_place;
            if (last_place[expert] != place) {
                last_place[expert] = place;
                num_local[expert] = 0;
                hits[expert].push_back({place, 1.0});
            }
            const int count = replica_count[expert];
            hits[expert].back().miss = static_cast<double>(count - ++num_local[expert]) / count;
        }
        for (std::size_t expert = 0; expert < hits.size(); ++expert) {
            hits_.insert(hits_.end(), hits[expert].begin(), hits[expert].end());
            start_[expert + 1] = hits_.size();
        }
    }

    // Expected number of distinct places of one token; ids < 0 are not routed.
    double num_distinct(std::span<const std::int32_t> token) {
        touched_.clear();
        for (const std::int32_t id : token) {
            if (id < 0)
                continue;
            for (std::size_t i = start_[id]; i < start_[id + 1]; ++i) {
                touched_.push_back(hits_[i].place);
                miss_[hits_[i].place] *= hits_[i].miss;
            }
        }
        // a place that came up again is 1 by then and adds nothing
        double num_places = 0;
        for (const int place : touched_) {
            num_places += 1.0 - miss_[place];
            miss_[place] = 1.0;
        }
        return num_places;
    }

  private:
    struct Hit {
        int place = 0;
        double miss = 1.0;  // probability that another place's replica is chosen
    };
    std::vector<std::size_t> start_;  // [num_experts + 1], into hits_
    std::vector<Hit> hits_;           // by expert, then place
    std::vector<double> miss_;        // [num_places], of the token at hand; 1 in between
    std::vector<int> touched_;
};

class TrafficCounter {
  public:
    TrafficCounter(const Placement& placement, int num_nodes)
        : replica_count_(checked_replica_counts(placement, num_nodes)),
          ranks_(placement, replica_count_, placement.ep_size),
          nodes_(placement, replica_count_, num_nodes) {}

    void add(std::span<const std::int32_t> ids, int top_k) {
        assert(top_k > 0 && ids.size() % top_k == 0);
        for (; !ids.empty(); ids = ids.subspan(top_k))
            add_token(ids.first(top_k));
    }

    const TokenTraffic& traffic() const { return traffic_; }

  private:
    static std::vector<int> checked_replica_counts(const Placement& placement, int num_nodes) {
        if (num_nodes < 1 || placement.ep_size % num_nodes != 0)
            throw Error("traffic: " + std::to_string(num_nodes) + " nodes for " +
                        std::to_string(placement.ep_size) +
                        " ranks: num_nodes must divide ep_size");
        const std::vector<int>& ids = placement.expert_ids;
        const auto highest = std::max_element(ids.begin(), ids.end());
        return covering_replica_counts(ids, highest == ids.end() ? 0 : std::max(*highest, 0) + 1);
    }

    void add_token(std::span<const std::int32_t> token) {
        const std::int32_t highest = *std::max_element(token.begin(), token.end());
        if (highest < 0)
            return;
        if (static_cast<std::size_t>(highest) >= replica_count_.size())
            throw Error("traffic: a token of expert " + std::to_string(highest) +
                        ", which stands in no slot of the placement");
        ++traffic_.num_tokens;
        traffic_.num_ranks += ranks_.num_distinct(token);
        traffic_.num_nodes += nodes_.num_distinct(token);
    }

    std::vector<int> replica_count_;  // [num_experts]
    Destinations ranks_;
    Destinations nodes_;
    TokenTraffic traffic_;
};

}  // namespace

double TokenTraffic::ranks_per_token() const {
    return num_tokens == 0 ? 0 : num_ranks / static_cast<double>(num_tokens);
}

double TokenTraffic::nodes_per_token() const {
    return num_tokens == 0 ? 0 : num_nodes / static_cast<double>(num_tokens);
}

TokenTraffic& TokenTraffic::operator+=(const TokenTraffic& other) {
    num_tokens += other.num_tokens;
    num_ranks += other.num_ranks;
    num_nodes += other.num_nodes;
    return *this;
}

TokenTraffic expected_traffic(std::span<const std::int32_t> ids,
                              int top_k,
                              const Placement& placement,
                              int num_nodes) {
    TrafficCounter counter(placement, num_nodes);
    counter.add(ids, top_k);
    return counter.traffic();
}

TokenTraffic expected_traffic(const RoutedIds& routed,
                              int layer,
                              const Placement& placement,
                              int num_nodes) {
    TrafficCounter counter(placement, num_nodes);
    for (int iteration = 0; iteration < routed.num_iterations; ++iteration)
        for (int source = 0; source < routed.ep_size; ++source)
            counter.add(routed.cell(iteration, layer, source), routed.top_k);
    return counter.traffic();
}

}  // namespace eplb
