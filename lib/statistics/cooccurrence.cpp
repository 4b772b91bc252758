#include "lib/statistics/cooccurrence.h"

#include <string>

#include "lib/base/error.h"

namespace eplb {
namespace {

// The experts of one token: its ids without the unrouted ones.
void take_experts(std::span<const std::int32_t> token, int num_experts, std::vector<int>& experts) {
    experts.clear();
    for (const std::int32_t id : token) {
        if (id >= num_experts)
            throw Error("routed ids: id " + std::to_string(id) + " where there are " +
                        std::to_string(num_experts) +
                        " experts; give the statistics of the same recording");
        if (id >= 0)
            experts.push_back(id);
    }
}

}  // namespace

void ExpertCooccurrence::allocate() {
    num_tokens.assign(num_layers(), 0);
    counts.assign(Grid<std::int64_t, 3>::num_values(sizes()), 0);
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
    std::vector<int> experts;
    for (int layer = 0; layer < cooccurrence.num_layers(); ++layer) {
        const Grid<std::int64_t, 2> matrix(cooccurrence.matrix(layer), {num_experts, num_experts});
        std::int64_t& num_tokens = cooccurrence.num_tokens[layer];
        for (std::int64_t id = range.start; id < range.stop; ++id)
            for (int source = 0; source < routed.ep_size; ++source) {
                const std::span<const std::int32_t> ids =
                    routed.cell(static_cast<int>(id - routed.iter_start), layer, source);
                for (std::size_t first = 0; first < ids.size(); first += routed.top_k) {
                    take_experts(ids.subspan(first, routed.top_k), num_experts, experts);
                    num_tokens += experts.empty() ? 0 : 1;
                    for (const int a : experts)
                        for (const int b : experts)
                            ++matrix(a, b);
                }
            }
    }
    return cooccurrence;
}

}  // namespace eplb
