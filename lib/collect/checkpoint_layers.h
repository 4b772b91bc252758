#ifndef EPLB_COLLECT_CHECKPOINT_LAYERS_H
#define EPLB_COLLECT_CHECKPOINT_LAYERS_H

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "kernels/held_weights.h"
#include "lib/collect/layer_source.h"
#include "lib/model/layer_reader.h"

namespace eplb {

// The layers of a checkpoint that routing depends on: one in memory and the next on its way, or all
// of them where iterations come one after another.
class CheckpointLayers final : public LayerSource {
  public:
    // is_stopped is asked while a layer is read in the background; where it says yes, reading ends
    // early. What is given must outlive this.
    CheckpointLayers(const DecoderConfig& config,
                     const Checkpoint& checkpoint,
                     const ExpertLayout& layout,
                     int device,
                     LoopOrder order,
                     Backend& backend,
                     std::function<bool()> is_stopped = nullptr);

    const DecoderConfig& config() const override { return config_; }
    const std::vector<int>& layers() const override { return layers_; }
    const std::string& name() const override { return checkpoint_.name(); }
    std::string identity() const override { return checkpoint_.identity(); }
    void embed(const Batch& batch, float* hidden) override;
    const LayerWeights& load(int layer) override;
    void release(int layer) override;
    double layer_bytes(int layer) const override { return reader_.layer_bytes(layer); }
    // Nothing travels: what a device lacks it maps from the checkpoint.
    void move_experts(int layer, const ExpertPlaces& from, const ExpertPlaces& to) override;

  private:
    struct Loaded {
        LayerWeights weights;
        HeldWeights vectors;
        HeldWeights matrices;
    };

    const DecoderConfig& config_;
    const Checkpoint& checkpoint_;
    int device_;
    LoopOrder order_;
    Backend& backend_;
    std::function<bool()> is_stopped_;
    LayerReader reader_;
    std::vector<int> layers_;
    std::vector<std::optional<Loaded>> loaded_;          // [layers]
    std::optional<std::pair<int, HeldWeights>> coming_;  // a layer's matrices
};

}  // namespace eplb

#endif
