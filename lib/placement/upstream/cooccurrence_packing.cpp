#include "lib/placement/upstream/cooccurrence_packing.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <optional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"

namespace eplb {
namespace {

bool is_finite(float value) {
    return std::isfinite(value);
}

void check_request(std::span<const float> load,
                   std::span<const int> replica_count,
                   std::span<const float> cooccurrence,
                   int ep_size,
                   int slots_per_rank,
                   double alpha) {
    const std::string subject = "cooccurrence packing: ";
    if (load.size() != replica_count.size())
        throw Error(subject + std::to_string(load.size()) + " loads but " +
                    std::to_string(replica_count.size()) + " replica counts");
    if (cooccurrence.size() != load.size() * load.size())
        throw Error(subject + "a matrix of " + std::to_string(cooccurrence.size()) +
                    " entries for " + std::to_string(load.size()) + " experts");
    if (!std::all_of(load.begin(), load.end(),
                     [](float value) { return value >= 0 && is_finite(value); }) ||
        !std::all_of(cooccurrence.begin(), cooccurrence.end(), is_finite))
        throw Error(subject + "loads must be finite and >= 0, cooccurrence must be finite");
    if (std::any_of(replica_count.begin(), replica_count.end(), [](int n) { return n < 0; }))
        throw Error(subject + "a negative replica count");
    const int num_replicas = std::accumulate(replica_count.begin(), replica_count.end(), 0);
    if (ep_size < 1 || slots_per_rank < 1 || num_replicas != ep_size * slots_per_rank)
        throw Error(subject + std::to_string(num_replicas) + " replicas for " +
                    std::to_string(ep_size) + " ranks with " + std::to_string(slots_per_rank) +
                    " slots each: the numbers must agree");
    if (!(alpha >= 0 && alpha <= 1))
        throw Error(subject +
                    "alpha must be from 0 to 1: it is the share of a rank that is filled "
                    "by cooccurrence");
}

class CooccurrencePacking {
  public:
    CooccurrencePacking(std::span<const float> load,
                        std::span<const int> replica_count,
                        std::span<const float> cooccurrence,
                        int ep_size,
                        int slots_per_rank)
        : num_left_(replica_count.begin(), replica_count.end()),
          cooccurrence_(cooccurrence),
          placement_{ep_size, slots_per_rank, {}},
          num_used_(ep_size),
          rank_load_(ep_size) {
        placement_.expert_ids.resize(placement_.num_slots());
        // an expert without replicas is never chosen; its share only must not be infinite
        for (std::size_t expert = 0; expert < load.size(); ++expert)
            share_.push_back(load[expert] / static_cast<float>(std::max(replica_count[expert], 1)));
        total_load_ = static_cast<float>(std::accumulate(load.begin(), load.end(), 0.0));
    }

    // Gives every rank what cooccurs, up to alpha of its slots and of the average load.
    void fill_by_cooccurrence(double alpha) {
        const double max_slots = placement_.slots_per_rank * alpha;
        const double max_load = static_cast<double>(total_load_) / placement_.ep_size * alpha;
        std::vector<float> affinity;
        for (int rank_id = 0; rank_id < placement_.ep_size; ++rank_id) {
            affinity.assign(share_.size(), 0);
            std::optional<int> expert = first_available(share_);
            while (expert && num_used(rank_id) + 1 <= max_slots &&
                   rank_load(rank_id) + share(*expert) <= max_load) {
                put(*expert, rank_id);
                add_row(*expert, affinity);
                expert = first_available(affinity);
            }
        }
    }

    // Deals out what is left, heaviest replica first, to the least loaded rank with a free slot.
    void fill_by_load() {
        std::priority_queue<std::pair<double, int>, std::vector<std::pair<double, int>>,
                            std::greater<>>
            heap;
        for (int rank_id = 0; rank_id < placement_.ep_size; ++rank_id)
            if (num_used(rank_id) < placement_.slots_per_rank)
                heap.emplace(rank_load(rank_id), rank_id);
        while (const std::optional<int> expert = first_available(share_)) {
            const int rank_id = heap.top().second;
            heap.pop();
            put(*expert, rank_id);
            if (num_used(rank_id) < placement_.slots_per_rank)
                heap.emplace(rank_load(rank_id), rank_id);
        }
    }

    const Placement& placement() const { return placement_; }

  private:
    double share(int expert) const { return static_cast<double>(share_[expert]); }
    int& num_used(int rank_id) { return num_used_[rank_id]; }
    double& rank_load(int rank_id) { return rank_load_[rank_id]; }

    // The expert of the largest key (tie: lower id) that has a replica left.
    std::optional<int> first_available(std::span<const float> key) const {
        std::optional<std::size_t> best;
        for (std::size_t expert = 0; expert < key.size(); ++expert)
            if (num_left_[expert] > 0 && (!best || key[expert] > key[*best]))
                best = expert;
        if (!best)
            return std::nullopt;
        return static_cast<int>(*best);
    }

    void put(int expert, int rank_id) {
        placement_.rank(rank_id)[num_used(rank_id)++] = expert;
        rank_load(rank_id) += share(expert);
        --num_left_[expert];
    }

    void add_row(int expert, std::vector<float>& affinity) const {
        const auto row = static_cast<std::size_t>(expert);
        for (std::size_t other = 0; other < affinity.size(); ++other)
            affinity[other] += other == row ? -1e9F : cooccurrence_[row * affinity.size() + other];
    }

    std::vector<int> num_left_;  // [num_experts], replicas that stand in no slot yet
    std::span<const float> cooccurrence_;
    std::vector<float> share_;  // [num_experts], load of one replica
    float total_load_ = 0;
    Placement placement_;
    std::vector<int> num_used_;      // [ep_size], slots
    std::vector<double> rank_load_;  // [ep_size]
};

}  // namespace

Placement pack_cooccurrence(std::span<const float> load,
                            std::span<const int> replica_count,
                            std::span<const float> cooccurrence,
                            int ep_size,
                            int slots_per_rank,
                            double alpha) {
    check_request(load, replica_count, cooccurrence, ep_size, slots_per_rank, alpha);
    CooccurrencePacking packing(load, replica_count, cooccurrence, ep_size, slots_per_rank);
    packing.fill_by_cooccurrence(alpha);
    packing.fill_by_load();
    return packing.placement();
}

}  // namespace eplb
