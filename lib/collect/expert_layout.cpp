#include "lib/collect/expert_layout.h"

#include <algorithm>
#include <string>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/engines/engine.h"

namespace eplb {
namespace {

void check_sizes(const MoeModelConfig& model,
                 int ep_size,
                 const std::optional<EplbConfig>& config,
                 int num_devices) {
    const int num_experts = model.router.num_experts;
    const std::string on_ranks = " on " + std::to_string(ep_size) + " ranks";
    if (!config && num_experts % ep_size != 0)
        throw UsageError(
            std::to_string(num_experts) + " experts" + on_ranks +
            ": not the same number on each; give an " + setting("ep_size") +
            " that divides the experts, or give a load balancer config with a num_slots that it "
            "divides");
    if (config && config->num_slots % ep_size != 0)
        throw Error(std::to_string(config->num_slots) + " slots" + on_ranks +
                    ": num_slots must be a multiple of " + setting("ep_size"));
    if (config && config->num_slots < num_experts)
        throw Error("num_slots " + std::to_string(config->num_slots) + " is below the model's " +
                    std::to_string(num_experts) + " experts");
    if (ep_size % num_devices != 0)
        throw Error(setting("ep_size") + " " + std::to_string(ep_size) +
                    " cannot be dealt out to " + std::to_string(num_devices) +
                    " devices; start as many as divide it");
}

Placement initial_placement(const MoeModelConfig& model,
                            int layer_id,
                            int ep_size,
                            int num_slots,
                            const std::optional<EplbConfig>& config) {
    const int num_experts = model.router.num_experts;
    if (!config || config->initial_global_assignments.empty())
        return default_engine().default_placement(num_experts, ep_size, num_slots / ep_size);
    const std::string subject =
        "the load balancer config, layer " + std::to_string(layer_id) + ": ";
    const auto found = config->initial_global_assignments.find(layer_id);
    if (found == config->initial_global_assignments.end())
        throw Error(subject +
                    "has no assignment; make the config from statistics of this model, or give "
                    "the layer the default assignment");
    const std::vector<int>& expert_ids = found->second;
    if (expert_ids.size() != static_cast<std::size_t>(num_slots))
        throw Error(subject + std::to_string(expert_ids.size()) + " entries where num_slots is " +
                    std::to_string(num_slots));
    try {
        covering_replica_counts(expert_ids, num_experts);
    } catch (const Error& error) {
        throw Error(subject + error.what());
    }
    return {ep_size, num_slots / ep_size, expert_ids};
}

}  // namespace

ExpertPlaces::ExpertPlaces(std::vector<std::vector<int>> experts, int num_experts)
    : experts_(std::move(experts)), begin_(1, 0), place_of_expert_(num_experts, -1) {
    for (const std::vector<int>& own : experts_) {
        int place = begin_.back();
        for (const int expert : own) {
            are_experts_ = are_experts_ && expert == place;
            if (place_of_expert_[expert] < 0)
                place_of_expert_[expert] = place;
            ++place;
        }
        begin_.push_back(place);
    }
}

ExpertPlaces::ExpertPlaces(const Placement& placement, int num_experts, int num_devices)
    : ExpertPlaces(
          [&] {
              std::vector<std::vector<int>> experts(num_devices);
              const int slots_per_device = placement.num_slots() / num_devices;
              for (int device = 0; device < num_devices; ++device) {
                  std::vector<bool> is_here(num_experts);
                  for (int i = 0; i < slots_per_device; ++i)
                      is_here[placement.expert_ids[device * slots_per_device + i]] = true;
                  for (int expert = 0; expert < num_experts; ++expert)
                      if (is_here[expert])
                          experts[device].push_back(expert);
              }
              return experts;
          }(),
          num_experts) {
    const int slots_per_device = placement.num_slots() / num_devices;
    for (int slot = 0; slot < placement.num_slots(); ++slot)
        place_of_slot_.push_back(place(slot / slots_per_device, placement.expert_ids[slot]));
}

ExpertPlaces ExpertPlaces::in_order(int num_experts, int num_devices) {
    std::vector<std::vector<int>> experts(num_devices);
    for (int expert = 0; expert < num_experts; ++expert)
        experts[std::int64_t{expert} * num_devices / num_experts].push_back(expert);
    return {std::move(experts), num_experts};
}

bool ExpertPlaces::holds(int device, int expert) const {
    return std::binary_search(experts_[device].begin(), experts_[device].end(), expert);
}

int ExpertPlaces::place(int device, int expert) const {
    const std::vector<int>& own = experts_[device];
    return begin_[device] +
           static_cast<int>(std::lower_bound(own.begin(), own.end(), expert) - own.begin());
}

std::vector<std::vector<int>> ExpertLayout::experts_of(int device) const {
    std::vector<std::vector<int>> experts;
    for (const ExpertPlaces& layer : places)
        experts.push_back(layer.experts(device));
    return experts;
}

ExpertLayout lay_out_experts(const MoeModelConfig& model,
                             int ep_size,
                             const std::optional<EplbConfig>& config,
                             int num_devices,
                             LoopOrder order) {
    check_sizes(model, ep_size, config, num_devices);
    const int num_experts = model.router.num_experts;
    ExpertLayout layout;
    layout.ep_size = ep_size;
    layout.num_devices = num_devices;
    layout.num_slots = config ? config->num_slots : num_experts;
    layout.layer_updates_per_iter = config ? config->layer_updates_per_iter : 0;
    layout.has_config = config.has_value();
    const bool is_in_force = order == LoopOrder::by_iteration || layout.layer_updates_per_iter == 0;
    for (const int layer : model.layers) {
        layout.placements.push_back(
            initial_placement(model, layer, ep_size, layout.num_slots, config));
        layout.places.push_back(
            is_in_force ? ExpertPlaces(layout.placements.back(), num_experts, num_devices)
                        : ExpertPlaces::in_order(num_experts, num_devices));
    }
    return layout;
}

}  // namespace eplb
