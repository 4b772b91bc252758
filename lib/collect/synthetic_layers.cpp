#include "lib/collect/synthetic_layers.h"

#include <algorithm>
#include <span>

namespace eplb {

SyntheticLayers::SyntheticLayers(const SyntheticModel& model,
                                 const ExpertLayout& layout,
                                 Backend& backend,
                                 Communicator* communicator,
                                 ThreadPool& threads)
    : model_(model),
      backend_(backend),
      communicator_(communicator),
      threads_(threads),
      expert_size_(model.expert_shape().num_weights()) {
    config_.moe = model.config();
    config_.norm_epsilon = SyntheticModel::kNormEpsilon;
    layers_.reserve(config_.moe.layers.size());  // what is held stays where it is
    for (int i = 0; i < config_.moe.num_layers(); ++i) {
        Layer& layer = layers_.emplace_back(
            Layer{LayerWeights(), DeviceBuffer<float>(backend), DeviceBuffer<float>(backend)});
        layer.weights.router = model.router(i);
        const std::vector<int>& experts = layout.places[i].experts(this_device());
        std::vector<float> made(experts.size() * expert_size_);
        threads.for_each(static_cast<std::int64_t>(experts.size()), [&](std::int64_t e) {
            model.make_expert(
                i, experts[e],
                std::span(made).subspan(static_cast<std::size_t>(e) * expert_size_, expert_size_));
        });
        layer.experts.upload(made);
        view_experts(layer, experts.size());
        if (config_.moe.shared_intermediate_size > 0) {
            std::vector<float> shared(model.shared_shape().num_weights());
            model.make_shared_expert(i, shared);
            layer.shared.upload(shared);
            layer.weights.has_dense = true;
            layer.weights.dense = model.shared_shape().view(layer.shared.data());
        }
        held_.emplace_back(backend, vector_parts(layer.weights));
    }
}

void SyntheticLayers::embed(const Batch& batch, float* hidden) {
    const auto hidden_size = static_cast<std::size_t>(config_.moe.hidden_size);
    embedded_.resize(batch.token_ids.size() * hidden_size);
    threads_.for_each(static_cast<std::int64_t>(batch.pieces.size()), [&](std::int64_t i) {
        const SequencePiece& piece = batch.pieces[i];
        const auto first = static_cast<std::size_t>(piece.first_row);
        const auto size = static_cast<std::size_t>(piece.num_tokens);
        model_.embed(std::span(batch.token_ids).subspan(first, size),
                     std::span(embedded_).subspan(first * hidden_size, size * hidden_size));
    });
    backend_.upload(embedded_.data(), embedded_.size() * sizeof(float), hidden);
}

void SyntheticLayers::view_experts(Layer& layer, std::size_t num_experts) const {
    layer.weights.experts.clear();
    for (std::size_t e = 0; e < num_experts; ++e)
        layer.weights.experts.push_back(
            model_.expert_shape().view(layer.experts.data() + e * expert_size_));
}

void SyntheticLayers::copy_expert(const float* from, float* to) {
    const int row_size = config_.moe.hidden_size;
    backend_.copy_rows({.num_rows = static_cast<std::int64_t>(expert_size_) / row_size,
                        .size = row_size,
                        .from_stride = row_size,
                        .to_stride = row_size},
                       from, to);
}

void SyntheticLayers::move_experts(int layer, const ExpertPlaces& from, const ExpertPlaces& to) {
    if (communicator_ == nullptr)
        return;  // one device holds all experts, whatever the placement
    const int here = this_device();
    Layer& moving = layers_[config_.moe.position(layer)];
    // both sides list what travels between two devices in the order of experts
    std::vector<int> leaving;
    std::vector<int> arriving;
    std::vector<std::int64_t> leaving_begin = {0};  // bytes, by device
    std::vector<std::int64_t> arriving_begin = {0};
    const auto add = [&](int source, int target, std::vector<int>& experts,
                         std::vector<std::int64_t>& begin) {
        for (const int expert : to.experts(target)) {
            int first_holder = 0;
            while (!from.holds(first_holder, expert))
                ++first_holder;
            if (!from.holds(target, expert) && first_holder == source)
                experts.push_back(expert);
        }
        begin.push_back(static_cast<std::int64_t>(experts.size() * expert_size_ * sizeof(float)));
    };
    for (int device = 0; device < communicator_->size(); ++device) {
        add(here, device, leaving, leaving_begin);
        add(device, here, arriving, arriving_begin);
    }

    const auto held = [&](int expert) {
        const int index = from.place(here, expert) - from.begin()[here];
        return moving.experts.data() + static_cast<std::size_t>(index) * expert_size_;
    };
    DeviceBuffer<float> sent(backend_);
    sent.grow(leaving.size() * expert_size_);
    for (std::size_t i = 0; i < leaving.size(); ++i)
        copy_expert(held(leaving[i]), sent.data() + i * expert_size_);
    DeviceBuffer<float> received(backend_);
    received.grow(arriving.size() * expert_size_);
    communicator_->exchange(sent.data(), leaving_begin, received.data(), arriving_begin);

    const std::vector<int>& wanted = to.experts(here);
    DeviceBuffer<float> experts(backend_);
    experts.grow(wanted.size() * expert_size_);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        const auto arrived = std::find(arriving.begin(), arriving.end(), wanted[i]);
        copy_expert(arrived == arriving.end()
                        ? held(wanted[i])
                        : received.data() +
                              static_cast<std::size_t>(arrived - arriving.begin()) * expert_size_,
                    experts.data() + i * expert_size_);
    }
    backend_.synchronize();  // the buffers go away: what uses them must be done
    moving.experts = std::move(experts);
    view_experts(moving, wanted.size());
}

}  // namespace eplb
