#include "lib/report/subject.h"

#include <cassert>
#include <numeric>
#include <utility>

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
    return subject;
}

Placement in_order(int num_experts, int ep_size) {
    Placement placement{ep_size, num_experts / ep_size, {}};
    placement.expert_ids.resize(static_cast<std::size_t>(num_experts));
    std::iota(placement.expert_ids.begin(), placement.expert_ids.end(), 0);
    return placement;
}

}  // namespace

LayerLoad Subject::rank_load_of(int layer) const {
    return rank_load(slot_load[static_cast<std::size_t>(layer)], ep_size);
}

Subject recorded_subject(const ExpertStatistics& statistics, std::string name, int ep_size) {
    Subject subject = shape_of(statistics, std::move(name), ep_size);
    for (int layer = 0; layer < statistics.num_layers(); ++layer)
        subject.slot_load.push_back(recorded_load(statistics, layer));
    if (statistics.ids != IdKind::slot) {
        subject.expert_load = subject.slot_load;
        subject.placements.assign(subject.layers.size(), in_order(statistics.num_experts, ep_size));
    }
    return subject;
}

Subject projected_subject(const ExpertStatistics& statistics,
                          std::string name,
                          std::vector<Placement> placements) {
    assert(placements.size() == statistics.layers.size() && !placements.empty());
    Subject subject = shape_of(statistics, std::move(name), placements.front().ep_size);
    subject.split = ReplicaSplit::equal;
    for (int layer = 0; layer < statistics.num_layers(); ++layer) {
        const Placement& placement = placements[static_cast<std::size_t>(layer)];
        subject.slot_load.push_back(projected_load(statistics, layer, placement.expert_ids));
        subject.expert_load.push_back(recorded_load(statistics, layer));
    }
    subject.placements = std::move(placements);
    return subject;
}

Subject iterations_of(const Subject& subject, const IterationRange& range) {
    assert(range.start >= subject.iter_start && range.stop <= subject.iter_stop());
    const auto first = static_cast<std::size_t>(range.start - subject.iter_start);
    Subject part = subject;
    part.iter_start = range.start;
    part.num_iterations = static_cast<int>(range.stop - range.start);
    const auto cut = [&](std::vector<LayerLoad>& layers) {
        for (LayerLoad& layer : layers) {
            const auto bins = static_cast<std::ptrdiff_t>(layer.num_bins);
            const auto begin = layer.load.begin() + static_cast<std::ptrdiff_t>(first) * bins;
            layer.load = {begin, begin + part.num_iterations * bins};
            layer.num_iterations = part.num_iterations;
        }
    };
    cut(part.slot_load);
    cut(part.expert_load);
    return part;
}

}  // namespace eplb
