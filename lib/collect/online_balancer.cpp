#include "lib/collect/online_balancer.h"

#include <algorithm>

#include "lib/placement/upstream/packing.h"
#include "lib/placement/upstream/replication.h"

namespace eplb {

UpdatePlan::UpdatePlan(int num_layers, int layer_updates_per_iter) {
    const int per_iteration = std::min(layer_updates_per_iter, num_layers);
    const int num_groups = (num_layers + per_iteration - 1) / per_iteration;
    groups_.resize(num_groups);
    for (int layer = 0; layer < num_layers; ++layer)
        groups_[layer % num_groups].push_back(layer);
    if (groups_.front().size() == groups_.back().size())
        groups_.emplace_back();
}

OnlineBalancer::OnlineBalancer(
    int num_layers, int num_experts, int ep_size, int slots_per_rank, int layer_updates_per_iter)
    : num_experts_(num_experts),
      ep_size_(ep_size),
      slots_per_rank_(slots_per_rank),
      plan_(num_layers, layer_updates_per_iter),
      load_(static_cast<std::size_t>(num_layers) * static_cast<std::size_t>(num_experts)) {}

std::span<const float> OnlineBalancer::load(int layer) const {
    return std::span(load_).subspan(
        static_cast<std::size_t>(layer) * static_cast<std::size_t>(num_experts_),
        static_cast<std::size_t>(num_experts_));
}

std::optional<Placement> OnlineBalancer::update(std::int64_t iteration,
                                                int layer,
                                                std::span<const std::int64_t> expert_counts) {
    float* const load = load_.data() + (this->load(layer).data() - load_.data());
    for (std::size_t e = 0; e < expert_counts.size(); ++e)
        load[e] = load[e] * kDecay + static_cast<float>(expert_counts[e]);
    const std::vector<int>& turn = plan_.layers(iteration);
    if (std::find(turn.begin(), turn.end(), layer) == turn.end())
        return std::nullopt;
    const std::span<float> layer_load(load, static_cast<std::size_t>(num_experts_));
    const std::vector<int> replicas = replicate_greedy(layer_load, ep_size_ * slots_per_rank_);
    Placement placement = pack_greedy(layer_load, replicas, ep_size_, slots_per_rank_);
    std::fill(layer_load.begin(), layer_load.end(), 0.0F);
    return placement;
}

}  // namespace eplb
