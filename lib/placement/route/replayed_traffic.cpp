#include "lib/placement/route/replayed_traffic.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>
#include <string>

#include "lib/base/error.h"
#include "lib/base/grid.h"

namespace eplb {
namespace {

double ratio(std::int64_t part, std::int64_t whole) {
    return whole == 0 ? std::numeric_limits<double>::quiet_NaN()
                      : static_cast<double>(part) / static_cast<double>(whole);
}

// Places (ranks, or nodes) that one token has reached so far.
class PlacesOfToken {
  public:
    explicit PlacesOfToken(int num_places) : visits_(num_places) {}

    void begin_token() { ++token_; }

    // How often this token was there before.
    int visit(int place) {
        Visits& visits = visits_[place];
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

// What the tokens of one cell add to a layer's traffic.
class CellTraffic {
  public:
    CellTraffic(int ep_size, int num_nodes, int slots_per_rank)
        : slots_per_rank_(slots_per_rank),
          ranks_per_node_(ep_size / num_nodes),
          ranks_(ep_size),
          nodes_(num_nodes),
          sends_(ep_size) {}

    // Slots from num_slots on are not routed.
    void add_token(std::span<const std::int32_t> slot_ids, int num_slots) {
        ranks_.begin_token();
        nodes_.begin_token();
        int num_ids = 0;
        for (const std::int32_t slot : slot_ids) {
            if (slot >= num_slots)
                continue;
            const int rank = slot / slots_per_rank_;
            const int num_before = ranks_.visit(rank);
            if (num_before == 0) {
                ++sends_[rank];
                num_node_sends_ += nodes_.visit(rank / ranks_per_node_) == 0 ? 1 : 0;
            }
            num_pairs_ += num_ids;
            num_pairs_within_rank_ += num_before;
            ++num_ids;
        }
        num_tokens_ += num_ids > 0 ? 1 : 0;
        num_ids_ += num_ids;
    }

    void add_to(ReplayedTraffic& traffic, int iteration, int source) const {
        traffic.num_tokens[iteration] += num_tokens_;
        traffic.num_ids += num_ids_;
        const Grid<std::int64_t, 2> sends(traffic.sends, {traffic.num_sources, traffic.ep_size});
        for (int rank = 0; rank < traffic.ep_size; ++rank)
            sends(source, rank) += sends_[rank];
        traffic.num_node_sends += num_node_sends_;
        traffic.num_pairs += num_pairs_;
        traffic.num_pairs_within_rank += num_pairs_within_rank_;
    }

  private:
    int slots_per_rank_;
    int ranks_per_node_;
    PlacesOfToken ranks_;
    PlacesOfToken nodes_;
    std::int64_t num_tokens_ = 0;
    std::int64_t num_ids_ = 0;
    std::vector<std::int64_t> sends_;  // [ep_size]
    std::int64_t num_node_sends_ = 0;
    std::int64_t num_pairs_ = 0;
    std::int64_t num_pairs_within_rank_ = 0;
};

int highest_expert(const Placement& placement) {
    const std::vector<int>& ids = placement.expert_ids;
    return ids.empty() ? -1 : *std::max_element(ids.begin(), ids.end());
}

int checked_num_nodes(const Placement& placement, int num_nodes) {
    if (num_nodes < 1 || placement.ep_size % num_nodes != 0)
        throw Error("traffic: " + std::to_string(num_nodes) + " nodes for " +
                    std::to_string(placement.ep_size) + " ranks: num_nodes must divide ep_size");
    return num_nodes;
}

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
    for (std::size_t i = 0; i < sends.size(); i += ep_size + 1)
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

TrafficReplay::TrafficReplay(
    const Placement& placement, int top_k, int num_sources, int num_iterations, int num_nodes)
    : num_experts_(highest_expert(placement) + 1),
      top_k_(static_cast<std::size_t>(top_k)),
      slots_per_rank_(placement.slots_per_rank),
      num_nodes_(checked_num_nodes(placement, num_nodes)),
      router_(placement.expert_ids, num_experts_) {
    traffic_.num_sources = num_sources;
    traffic_.ep_size = placement.ep_size;
    traffic_.num_tokens.resize(num_iterations);
    traffic_.sends.resize(Grid<std::int64_t, 2>::num_values({num_sources, placement.ep_size}));
}

void TrafficReplay::add(int iteration, int source, std::span<const std::int32_t> ids) {
    assert(top_k_ > 0 && ids.size() % top_k_ == 0);
    const auto highest = std::max_element(ids.begin(), ids.end());
    if (highest != ids.end() && *highest >= num_experts_)
        throw Error("traffic: a token of expert " + std::to_string(*highest) +
                    ", which stands in no slot of the placement");
    std::vector<std::int32_t> slot_ids(ids.size());
    router_.route(ids, source, slot_ids);
    CellTraffic cell(traffic_.ep_size, num_nodes_, slots_per_rank_);
    for (std::size_t first = 0; first < slot_ids.size(); first += top_k_)
        cell.add_token(std::span(slot_ids).subspan(first, top_k_), router_.num_slots());
    const std::lock_guard lock(mutex_);
    cell.add_to(traffic_, iteration, source);
}

}  // namespace eplb
