#include "lib/report/subject.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

#include "lib/engines/engine.h"

namespace eplb {
namespace {

Subject shape_of(const ExpertStatistics& statistics, std::string name, int ep_size) {
    Subject subject;
    subject.name = std::move(name);
    subject.num_experts = statistics.num_experts;
    subject.top_k = statistics.top_k;
    subject.ep_size = ep_size;
    subject.layers = statistics.layers;
    subject.iter_start = statistics.iter_start;
    subject.num_iterations = statistics.num_iterations;
    subject.ids = statistics.ids;
    subject.num_source_ranks = statistics.has_unknown_sources ? 0 : statistics.ep_size;
    return subject;
}

Placement in_order(int num_experts, int ep_size) {
    Placement placement{ep_size, num_experts / ep_size, {}};
    placement.expert_ids.resize(num_experts);
    std::iota(placement.expert_ids.begin(), placement.expert_ids.end(), 0);
    return placement;
}

// Slots are at least as many as experts, each of which has one.
bool has_replicas(const std::vector<Placement>& placements, int num_experts) {
    return std::any_of(placements.begin(), placements.end(), [&](const Placement& placement) {
        return placement.num_slots() > num_experts;
    });
}

}  // namespace

LayerLoad Subject::rank_load_of(int layer) const {
    return rank_load(slot_load[layer], ep_size);
}

std::vector<LayerLoad> recorded_loads(const ExpertStatistics& statistics, ThreadPool& threads) {
    std::vector<LayerLoad> loads(statistics.layers.size());
    threads.for_each(statistics.num_layers(), [&](std::int64_t layer) {
        loads[layer] = recorded_load(statistics, static_cast<int>(layer));
    });
    return loads;
}

Subject recorded_subject(const ExpertStatistics& statistics, std::string name, int ep_size) {
    ThreadPool alone(1);
    return recorded_subject(statistics, recorded_loads(statistics, alone), std::move(name),
                            ep_size);
}

Subject recorded_subject(const ExpertStatistics& statistics,
                         std::vector<LayerLoad> recorded,
                         std::string name,
                         int ep_size) {
    Subject subject = shape_of(statistics, std::move(name), ep_size);
    subject.slot_load = std::move(recorded);
    if (statistics.ids != IdKind::slot) {
        subject.expert_load = subject.slot_load;
        subject.placements.assign(subject.layers.size(), in_order(statistics.num_experts, ep_size));
    }
    return subject;
}

Subject projected_subject(const ExpertStatistics& statistics,
                          std::string name,
                          std::vector<Placement> placements) {
    ThreadPool alone(1);
    return projected_subject(statistics, recorded_loads(statistics, alone), std::move(name),
                             std::move(placements), alone);
}

Subject projected_subject(const ExpertStatistics& statistics,
                          std::vector<LayerLoad> recorded,
                          std::string name,
                          std::vector<Placement> placements,
                          ThreadPool& threads) {
    assert(placements.size() == statistics.layers.size() && !placements.empty());
    require_expert_ids(statistics);
    Subject subject = shape_of(statistics, std::move(name), placements.front().ep_size);
    subject.split =
        has_replicas(placements, statistics.num_experts) ? ReplicaSplit::equal : ReplicaSplit::none;
    subject.expert_load = std::move(recorded);
    subject.slot_load.resize(subject.expert_load.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        subject.slot_load[layer] =
            projected_load(subject.expert_load[layer], placements[layer].expert_ids);
    });
    subject.placements = std::move(placements);
    return subject;
}

Subject replayed_subject(const ExpertStatistics& statistics,
                         std::vector<LayerLoad> recorded,
                         std::string name,
                         const ReplicaReplay& replay,
                         ThreadPool& threads) {
    if (!replay.is_exact() || statistics.has_unknown_sources) {
        Subject subject = projected_subject(statistics, std::move(recorded), std::move(name),
                                            replay.placements(), threads);
        if (subject.split == ReplicaSplit::equal)
            subject.split = statistics.has_unknown_sources ? ReplicaSplit::equal_of_sum
                                                           : ReplicaSplit::equal_without_ids;
        return subject;
    }
    Subject subject = shape_of(statistics, std::move(name), replay.placements().front().ep_size);
    subject.split = !replay.has_replicas() ? ReplicaSplit::none
                    : replay.is_from_ids() ? ReplicaSplit::replayed_from_ids
                                           : ReplicaSplit::replayed_from_counts;
    subject.expert_load = std::move(recorded);
    subject.slot_load.resize(subject.expert_load.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        subject.slot_load[layer] = replay.slot_load(subject.expert_load[layer],
                                                    statistics.iter_start, static_cast<int>(layer));
    });
    subject.placements = replay.placements();
    return subject;
}

Subject unbalanced_subject(const ExpertStatistics& statistics, std::string name, int ep_size) {
    if (statistics.num_experts % ep_size == 0)
        return recorded_subject(statistics, std::move(name), ep_size);
    const int slots_per_rank = (statistics.num_experts + ep_size - 1) / ep_size;
    return projected_subject(
        statistics, std::move(name),
        std::vector<Placement>(
            statistics.layers.size(),
            default_engine().default_placement(statistics.num_experts, ep_size, slots_per_rank)));
}

Subject in_force_subject(const ExpertStatistics& statistics,
                         std::string name,
                         const EplbConfig& config,
                         std::vector<LayerLoad> slot_load,
                         int ep_size) {
    Subject subject = recorded_subject(statistics, std::move(name), 1);
    subject.ep_size = ep_size;
    subject.ids = IdKind::slot;
    subject.slot_load = std::move(slot_load);
    subject.placements.clear();
    for (const int layer_id : statistics.layers)
        subject.placements.push_back(
            {ep_size, config.num_slots / ep_size, config.initial_global_assignments.at(layer_id)});
    return subject;
}

std::string split_name(ReplicaSplit split) {
    switch (split) {
        case ReplicaSplit::recorded:
            return "recorded";
        case ReplicaSplit::none:
            return "none";
        case ReplicaSplit::replayed_from_counts:
            return "replayed_from_counts";
        case ReplicaSplit::replayed_from_ids:
            return "replayed_from_ids";
        case ReplicaSplit::equal:
        case ReplicaSplit::equal_without_ids:
        case ReplicaSplit::equal_of_sum:
            return "equal";
    }
    return {};
}

std::string split_note(const Subject& subject) {
    const std::string replayed =
        "replicas by the engine's round robin, replayed to the token from ";
    const std::string ranks = subject.ep_size == subject.num_source_ranks
                                  ? ""
                                  : ", with the recording's " +
                                        std::to_string(subject.num_source_ranks) + " source ranks";
    switch (subject.split) {
        case ReplicaSplit::recorded:
            return {};
        case ReplicaSplit::none:
            return "no expert has several replicas";
        case ReplicaSplit::replayed_from_counts:
            return replayed + "counts of one block" + ranks;
        case ReplicaSplit::replayed_from_ids:
            return replayed + "routed ids" + ranks;
        case ReplicaSplit::equal:
            return "each replica takes an equal share";
        case ReplicaSplit::equal_without_ids:
            return "each replica takes an equal share (a source rank has more than " +
                   std::to_string(kRoutingBlock) +
                   " ids and the recording holds no routed ids of experts)";
        case ReplicaSplit::equal_of_sum:
            return "each replica takes an equal share (the recording does not tell source ranks "
                   "apart)";
    }
    return {};
}

Subject iterations_of(const Subject& subject, const IterationRange& range) {
    assert(range.start >= subject.iter_start && range.stop <= subject.iter_stop());
    const auto first = static_cast<int>(range.start - subject.iter_start);
    Subject part = subject;
    part.iter_start = range.start;
    part.num_iterations = static_cast<int>(range.stop - range.start);
    for (std::vector<LayerLoad>* const layers : {&part.slot_load, &part.expert_load})
        for (LayerLoad& layer : *layers)
            layer = layer.part(first, part.num_iterations);
    return part;
}

}  // namespace eplb
