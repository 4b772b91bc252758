#include "lib/placement/replayed_traffic.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>
#include <string>

#include "lib/base/error.h"
#include "lib/placement/slot_router.h"

namespace eplb {
namespace {

double ratio(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? std::numeric_limits<double>::quiet_NaN()
                      : static_cast<double>(part) / static_cast<double>(whole);
}

// Places (ranks, or nodes) that one token has reached so far.
class PlacesOfToken {
  public:
    explicit PlacesOfToken(int num_places) : visits_(static_cast<std::size_t>(num_places)) {}

    void begin_token() { ++token_; }

    // How often this token was there before.
    int visit(int place) {
        Visits& visits = visits_[static_cast<std::size_t>(place)];
        if (visits.token != token_)
            visits = {token_, 0};
        return visits.count++;
    }

  private:
    struct Visits {
        std::int64_t token = 0;
        int count = 0;
    };
    std::vector<Visits> visits_;  // [num_places]
    std::int64_t token_ = 0;      // from 1 on
};

class Replay {
  public:
    Replay(const RoutedIds& routed, const Placement& placement, int num_nodes)
        : num_experts_(highest_expert(placement) + 1),
          top_k_(static_cast<std::size_t>(routed.top_k)),
          slots_per_rank_(placement.slots_per_rank),
          ranks_per_node_(checked_ranks_per_node(placement, num_nodes)),
          router_(placement.expert_ids, num_experts_),
          ranks_(placement.ep_size),
          nodes_(num_nodes) {
        traffic_.num_sources = routed.ep_size;
        traffic_.ep_size = placement.ep_size;
        traffic_.num_tokens.resize(static_cast<std::size_t>(routed.num_iterations));
        traffic_.sends.resize(static_cast<std::size_t>(routed.ep_size) *
                              static_cast<std::size_t>(placement.ep_size));
    }

    void add(int iteration, int source, const std::vector<std::int32_t>& ids) {
        assert(top_k_ > 0 && ids.size() % top_k_ == 0);
        const auto highest = std::max_element(ids.begin(), ids.end());
        if (highest != ids.end() && *highest >= num_experts_)
            throw Error("traffic: a token of expert " + std::to_string(*highest) +
                        ", which stands in no slot of the placement");
        slot_ids_.resize(ids.size());
        router_.route(ids, source, slot_ids_);
        const std::span<std::int64_t> sends =
            std::span(traffic_.sends)
                .subspan(
                    static_cast<std::size_t>(source) * static_cast<std::size_t>(traffic_.ep_size),
                    static_cast<std::size_t>(traffic_.ep_size));
        std::int64_t& num_tokens = traffic_.num_tokens[static_cast<std::size_t>(iteration)];
        for (std::size_t first = 0; first < ids.size(); first += top_k_)
            num_tokens += add_token(std::span(slot_ids_).subspan(first, top_k_), sends) ? 1 : 0;
    }

    ReplayedTraffic take() { return std::move(traffic_); }

  private:
    static int highest_expert(const Placement& placement) {
        const std::vector<int>& ids = placement.expert_ids;
        return ids.empty() ? -1 : *std::max_element(ids.begin(), ids.end());
    }

    static int checked_ranks_per_node(const Placement& placement, int num_nodes) {
        if (num_nodes < 1 || placement.ep_size % num_nodes != 0)
            throw Error("traffic: " + std::to_string(num_nodes) + " nodes for " +
                        std::to_string(placement.ep_size) +
                        " ranks: num_nodes must divide ep_size");
        return placement.ep_size / num_nodes;
    }

    // False where no expert serves it.
    bool add_token(std::span<const std::int32_t> slot_ids, std::span<std::int64_t> sends) {
        ranks_.begin_token();
        nodes_.begin_token();
        int num_ids = 0;
        for (const std::int32_t slot : slot_ids) {
            if (slot >= router_.num_slots())  // not routed
                continue;
            const int rank = slot / slots_per_rank_;
            const int num_before = ranks_.visit(rank);
            sends[static_cast<std::size_t>(rank)] += num_before == 0 ? 1 : 0;
            traffic_.num_node_sends += nodes_.visit(rank / ranks_per_node_) == 0 ? 1 : 0;
            traffic_.num_pairs += num_ids;
            traffic_.num_pairs_within_rank += num_before;
            ++num_ids;
        }
        traffic_.num_ids += num_ids;
        return num_ids > 0;
    }

    int num_experts_;
    std::size_t top_k_;
    int slots_per_rank_;
    int ranks_per_node_;
    SlotRouter router_;
    PlacesOfToken ranks_;
    PlacesOfToken nodes_;
    std::vector<std::int32_t> slot_ids_;  // of the cell at hand
    ReplayedTraffic traffic_;
};

}  // namespace

std::int64_t ReplayedTraffic::total_tokens() const {
    return std::accumulate(num_tokens.begin(), num_tokens.end(), std::int64_t{0});
}

std::int64_t ReplayedTraffic::total_sends() const {
    return std::accumulate(sends.begin(), sends.end(), std::int64_t{0});
}

std::int64_t ReplayedTraffic::sends_to_own_rank() const {
    assert(knows_own_rank());
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < sends.size(); i += static_cast<std::size_t>(ep_size) + 1)
        sum += sends[i];
    return sum;
}

double ReplayedTraffic::ranks_per_token() const {
    return ratio(total_sends(), total_tokens());
}

double ReplayedTraffic::nodes_per_token() const {
    return ratio(num_node_sends, total_tokens());
}

double ReplayedTraffic::remote_ranks_per_token() const {
    return ratio(total_sends() - sends_to_own_rank(), total_tokens());
}

double ReplayedTraffic::saved_share() const {
    return ratio(num_ids - total_sends(), num_ids);
}

double ReplayedTraffic::within_rank_share() const {
    return ratio(num_pairs_within_rank, num_pairs);
}

ReplayedTraffic replayed_traffic(const RoutedIds& routed,
                                 int layer,
                                 const Placement& placement,
                                 int num_nodes) {
    Replay replay(routed, placement, num_nodes);
    for (int iteration = 0; iteration < routed.num_iterations; ++iteration)
        for (int source = 0; source < routed.ep_size; ++source)
            replay.add(iteration, source, routed.cell(iteration, layer, source));
    return replay.take();
}

}  // namespace eplb
