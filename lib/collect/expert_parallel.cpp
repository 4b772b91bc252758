#include "lib/collect/expert_parallel.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace eplb {

int num_chunks(std::int64_t num_tokens, int max_num_tokens) {
    if (max_num_tokens == 0 || num_tokens <= max_num_tokens)
        return 1;
    return static_cast<int>((num_tokens + max_num_tokens - 1) / max_num_tokens);
}

TokenRange chunk_of(std::int32_t num_tokens, int num_chunks, int chunk) {
    const std::int32_t size = num_tokens / num_chunks;
    const std::int32_t num_larger = num_tokens % num_chunks;
    const std::int32_t begin = chunk * size + std::min(chunk, num_larger);
    return {begin, begin + size + (chunk < num_larger ? 1 : 0)};
}

void DispatchPlan::build(std::span<const std::int32_t> tokens,
                         std::span<const std::int32_t> slot_ids,
                         int top_k,
                         int num_slots) {
    // a stable counting sort by slot
    const auto k = static_cast<std::size_t>(top_k);
    slot_begin.assign(static_cast<std::size_t>(num_slots) + 1, 0);
    for (const std::int32_t token : tokens)
        for (const std::int32_t slot : slot_ids.subspan(static_cast<std::size_t>(token) * k, k)) {
            assert(slot >= 0 && slot < num_slots);
            ++slot_begin[static_cast<std::size_t>(slot) + 1];
        }
    std::partial_sum(slot_begin.begin(), slot_begin.end(), slot_begin.begin());
    rows.resize(tokens.size() * k);
    source_rows.resize(tokens.size() * k);
    std::vector<std::int32_t> next(slot_begin.begin(), slot_begin.end() - 1);
    auto row_of = rows.begin();
    for (const std::int32_t token : tokens)
        for (const std::int32_t slot : slot_ids.subspan(static_cast<std::size_t>(token) * k, k)) {
            const std::int32_t row = next[static_cast<std::size_t>(slot)]++;
            *row_of++ = row;
            source_rows[static_cast<std::size_t>(row)] = token;
        }
}

LayerSlots::LayerSlots(const SyntheticModel& model, int layer, Placement placement)
    : expert_size_(model.expert_shape().num_weights()),
      placement_(std::move(placement)),
      router_(placement_.expert_ids, model.config().router.num_experts),
      weights_(placement_.expert_ids.size() * expert_size_) {
    for (std::size_t slot = 0; slot < placement_.expert_ids.size(); ++slot) {
        const std::span<float> weights =
            std::span(weights_).subspan(slot * expert_size_, expert_size_);
        slot_weights_.push_back(model.expert_shape().view(weights.data()));
        const auto first =
            static_cast<std::size_t>(router_.replica_slots(placement_.expert_ids[slot]).front());
        if (first < slot)
            std::copy_n(weights_.data() + first * expert_size_, expert_size_, weights.data());
        else
            model.make_expert(layer, placement_.expert_ids[slot], weights);
    }
}

int LayerSlots::move_to(const Placement& placement) {
    assert(placement.expert_ids.size() == placement_.expert_ids.size());
    std::vector<std::size_t> changed;
    for (std::size_t slot = 0; slot < placement.expert_ids.size(); ++slot)
        if (placement.expert_ids[slot] != placement_.expert_ids[slot])
            changed.push_back(slot);
    // everything leaves before anything arrives: a slot may be both source and target
    std::vector<float> in_flight(changed.size() * expert_size_);
    for (std::size_t i = 0; i < changed.size(); ++i) {
        const auto source = static_cast<std::size_t>(
            router_.replica_slots(placement.expert_ids[changed[i]]).front());
        std::copy_n(weights_.data() + source * expert_size_, expert_size_,
                    in_flight.data() + i * expert_size_);
    }
    for (std::size_t i = 0; i < changed.size(); ++i)
        std::copy_n(in_flight.data() + i * expert_size_, expert_size_,
                    weights_.data() + changed[i] * expert_size_);
    const int num_experts = router_.num_experts();
    placement_ = placement;
    router_ = SlotRouter(placement_.expert_ids, num_experts);
    return static_cast<int>(changed.size());
}

}  // namespace eplb
