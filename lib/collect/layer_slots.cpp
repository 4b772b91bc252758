#include "lib/collect/layer_slots.h"

#include <algorithm>
#include <cassert>

namespace eplb {

LayerSlots::LayerSlots(const SyntheticModel& model,
                       int layer,
                       Placement placement,
                       Backend& backend,
                       Communicator* communicator,
                       ThreadPool& threads)
    : backend_(&backend),
      communicator_(communicator),
      row_size_(model.config().hidden_size),
      expert_size_(model.expert_shape().num_weights()),
      placement_(std::move(placement)),
      router_(placement_.expert_ids, model.config().router.num_experts),
      num_here_(placement_.num_slots() / (communicator == nullptr ? 1 : communicator->size())),
      first_here_(communicator == nullptr ? 0 : communicator->rank() * num_here_),
      weights_(backend),
      table_start_(backend),
      table_slots_(backend) {
    std::vector<float> weights(static_cast<std::size_t>(num_here_) * expert_size_);
    threads.for_each(num_here_, [&](std::int64_t i) {
        model.make_expert(
            layer, placement_.expert_ids[first_here_ + i],
            std::span(weights).subspan(static_cast<std::size_t>(i) * expert_size_, expert_size_));
    });
    weights_.upload(weights);
    for (int slot = first_here_; slot < first_here_ + num_here_; ++slot)
        slot_weights_.push_back(model.expert_shape().view(weights_of(slot)));
    upload_tables();
}

const float* LayerSlots::weights_of(int slot) const {
    return weights_.data() + static_cast<std::size_t>(slot - first_here_) * expert_size_;
}

void LayerSlots::upload_tables() {
    table_start_.upload(router_.replicas().start);
    table_slots_.upload(router_.replicas().slot_ids);
}

Backend::SlotTables LayerSlots::tables() const {
    return {.num_experts = router_.num_experts(),
            .num_slots = router_.num_slots(),
            .start = table_start_.data(),
            .slot_ids = table_slots_.data()};
}

int LayerSlots::move_to(const Placement& placement) {
    assert(placement.expert_ids.size() == placement_.expert_ids.size());
    std::vector<Move> moves;
    for (int slot = 0; slot < placement.num_slots(); ++slot) {
        const int expert = placement.expert_ids[slot];
        if (expert != placement_.expert_ids[slot])
            moves.push_back({router_.replica_slots(expert).front(), slot});
    }
    move_weights(moves);
    const int num_experts = router_.num_experts();
    placement_ = placement;
    router_ = SlotRouter(placement_.expert_ids, num_experts);
    upload_tables();
    return static_cast<int>(moves.size());
}

// Everything leaves before anything arrives: a slot may be both source and target.
void LayerSlots::move_weights(const std::vector<Move>& moves) {
    const int here = first_here_ / num_here_;
    const int num_devices = placement_.num_slots() / num_here_;
    // both sides list what travels between two devices in the order of target slots
    std::vector<Move> leaving;
    std::vector<Move> arriving;
    std::vector<std::int64_t> leaving_begin = {0};  // bytes, by device
    std::vector<std::int64_t> arriving_begin = {0};
    const auto num_bytes = [&](const std::vector<Move>& of) {
        return static_cast<std::int64_t>(of.size() * expert_size_ * sizeof(float));
    };
    for (int device = 0; device < num_devices; ++device) {
        for (const Move& move : moves) {
            if (device_of(move.source) == here && device_of(move.target) == device)
                leaving.push_back(move);
            if (device_of(move.source) == device && device_of(move.target) == here)
                arriving.push_back(move);
        }
        leaving_begin.push_back(num_bytes(leaving));
        arriving_begin.push_back(num_bytes(arriving));
    }
    const auto copy = [&](const float* from, float* to) {
        backend_->copy_rows({.num_rows = static_cast<std::int64_t>(expert_size_) / row_size_,
                             .size = row_size_,
                             .from_stride = row_size_,
                             .to_stride = row_size_},
                            from, to);
    };
    DeviceBuffer<float> sent(*backend_);
    sent.grow(leaving.size() * expert_size_);
    for (std::size_t i = 0; i < leaving.size(); ++i)
        copy(weights_of(leaving[i].source), sent.data() + i * expert_size_);
    DeviceBuffer<float> received(*backend_);
    if (communicator_ != nullptr) {
        received.grow(arriving.size() * expert_size_);
        communicator_->exchange(sent.data(), leaving_begin, received.data(), arriving_begin);
    }
    const float* const arrived = communicator_ == nullptr ? sent.data() : received.data();
    for (std::size_t i = 0; i < arriving.size(); ++i)
        copy(arrived + i * expert_size_,
             weights_.data() +
                 static_cast<std::size_t>(arriving[i].target - first_here_) * expert_size_);
    // the buffers go away: what uses them must be done
    backend_->synchronize();
}

}  // namespace eplb
