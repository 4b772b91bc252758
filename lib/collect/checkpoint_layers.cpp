#include "lib/collect/checkpoint_layers.h"

#include <numeric>

namespace eplb {

CheckpointLayers::CheckpointLayers(const DecoderConfig& config,
                                   const Checkpoint& checkpoint,
                                   const ExpertLayout& layout,
                                   int device,
                                   LoopOrder order,
                                   Backend& backend,
                                   std::function<bool()> is_stopped)
    : config_(config),
      checkpoint_(checkpoint),
      device_(device),
      order_(order),
      backend_(backend),
      is_stopped_(std::move(is_stopped)),
      reader_(config, checkpoint, config.num_needed_layers(), true, layout.experts_of(device)),
      layers_(config.num_needed_layers()),
      loaded_(layers_.size()) {
    std::iota(layers_.begin(), layers_.end(), 0);
}

void CheckpointLayers::embed(const Batch& batch, float* hidden) {
    {
        const HeldWeights held(backend_, reader_.embedding_parts());
        backend_.embed(reader_.embedding(), batch.token_ids, hidden);
    }
    if (order_ == LoopOrder::by_layer)
        reader_.drop_embedding();
}

const LayerWeights& CheckpointLayers::load(int layer) {
    std::optional<Loaded>& loaded = loaded_[layer];
    if (loaded)
        return loaded->weights;
    LayerWeights weights = reader_.load(layer);  // waits for the reading in the background
    HeldWeights matrices = coming_ && coming_->first == layer
                               ? std::move(coming_->second)
                               : HeldWeights(backend_, reader_.parts(layer));
    coming_.reset();
    HeldWeights vectors(backend_, vector_parts(weights));
    loaded.emplace(Loaded{std::move(weights), std::move(vectors), std::move(matrices)});
    if (order_ == LoopOrder::by_layer && layer + 1 < config_.num_needed_layers()) {
        reader_.start_reading(layer + 1, is_stopped_);
        coming_.emplace(layer + 1, HeldWeights(backend_, reader_.parts(layer + 1)));
    }
    return loaded->weights;
}

void CheckpointLayers::release(int layer) {
    if (order_ == LoopOrder::by_iteration)
        return;
    loaded_[layer].reset();
    reader_.drop(layer);
}

void CheckpointLayers::move_experts(int layer, const ExpertPlaces& from, const ExpertPlaces& to) {
    const bool only_routes = layer == layers_.back();
    if (only_routes || from.experts(device_) == to.experts(device_))
        return;
    loaded_[layer].reset();
    reader_.set_experts(layer, to.experts(device_));
}

}  // namespace eplb
