#include "lib/statistics/cooccurrence.h"

#include <cassert>
#include <string>
#include <utility>

#include "lib/base/error.h"

namespace eplb {
namespace {

// The experts of one token: its ids without the unrouted ones.
void take_experts(std::span<const std::int32_t> token,
                  int num_experts,
                  std::vector<std::size_t>& experts) {
    experts.clear();
    for (const std::int32_t id : token) {
        if (id >= num_experts)
            throw Error("routed ids: id " + std::to_string(id) + " where there are " +
                        std::to_string(num_experts) +
                        " experts; give the statistics of the same recording");
        if (id >= 0)
            experts.push_back(static_cast<std::size_t>(id));
    }
}

}  // namespace

void ExpertCooccurrence::allocate() {
    const auto size = static_cast<std::size_t>(num_experts);
    num_tokens.assign(layers.size(), 0);
    counts.assign(layers.size() * size * size, 0);
}

std::span<const std::int64_t> ExpertCooccurrence::matrix(int layer) const {
    assert(layer >= 0 && layer < num_layers());
    const std::size_t size =
        static_cast<std::size_t>(num_experts) * static_cast<std::size_t>(num_experts);
    return std::span(counts).subspan(static_cast<std::size_t>(layer) * size, size);
}

std::span<std::int64_t> ExpertCooccurrence::matrix(int layer) {
    const std::span<const std::int64_t> found = std::as_const(*this).matrix(layer);
    return {counts.data() + (found.data() - counts.data()), found.size()};
}

ExpertCooccurrence count_cooccurrence(const RoutedIds& routed,
                                      int num_experts,
                                      const std::optional<IterationRange>& iterations) {
    const IterationRange recorded = {routed.iter_start, routed.iter_start + routed.num_iterations};
    IterationRange range = recorded;
    if (iterations)
        range =
            select_iterations({iterations->start, iterations->stop, false}, recorded, "routed ids");

    ExpertCooccurrence cooccurrence;
    cooccurrence.num_experts = num_experts;
    cooccurrence.layers = routed.layers;
    cooccurrence.allocate();
    const auto top_k = static_cast<std::size_t>(routed.top_k);
    std::vector<std::size_t> experts;
    for (int layer = 0; layer < cooccurrence.num_layers(); ++layer) {
        const std::span<std::int64_t> matrix = cooccurrence.matrix(layer);
        std::int64_t& num_tokens = cooccurrence.num_tokens[layer];
        for (std::int64_t id = range.start; id < range.stop; ++id)
            for (int source = 0; source < routed.ep_size; ++source) {
                const std::span<const std::int32_t> ids =
                    routed.cell(static_cast<int>(id - routed.iter_start), layer, source);
                for (std::size_t first = 0; first < ids.size(); first += top_k) {
                    take_experts(ids.subspan(first, top_k), num_experts, experts);
                    num_tokens += experts.empty() ? 0 : 1;
                    for (const std::size_t a : experts)
                        for (const std::size_t b : experts)
                            ++matrix[a * static_cast<std::size_t>(num_experts) + b];
                }
            }
    }
    return cooccurrence;
}

}  // namespace eplb
