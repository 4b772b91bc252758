#ifndef EPLB_COLLECT_SYNTHETIC_LAYERS_H
#define EPLB_COLLECT_SYNTHETIC_LAYERS_H

#include <vector>

#include "kernels/backend.h"
#include "kernels/communicator.h"
#include "kernels/device_buffer.h"
#include "kernels/held_weights.h"
#include "lib/base/parallel.h"
#include "lib/collect/layer_source.h"
#include "lib/model/synthetic.h"

namespace eplb {

// A synthetic model's layers: without attention, all in device memory.
class SyntheticLayers final : public LayerSource {
  public:
    // Makes the weights that this device holds. communicator: to the other devices, or null. What
    // is given must outlive this.
    SyntheticLayers(const SyntheticModel& model,
                    const ExpertLayout& layout,
                    Backend& backend,
                    Communicator* communicator,
                    ThreadPool& threads);

    const DecoderConfig& config() const override { return config_; }
    const std::vector<int>& layers() const override { return config_.moe.layers; }
    const std::string& name() const override { return config_.moe.name; }
    std::string identity() const override { return name(); }
    void embed(const Batch& batch, float* hidden) override;
    const LayerWeights& load(int layer) override {
        return layers_[config_.moe.position(layer)].weights;
    }
    void release(int) override {}
    double layer_bytes(int) const override { return 0; }
    // Weights travel from the first device that holds them.
    void move_experts(int layer, const ExpertPlaces& from, const ExpertPlaces& to) override;

  private:
    struct Layer {
        LayerWeights weights;
        DeviceBuffer<float> experts;  // [experts of this device][expert_size]
        DeviceBuffer<float> shared;
    };

    int this_device() const { return communicator_ == nullptr ? 0 : communicator_->rank(); }
    void view_experts(Layer& layer, std::size_t num_experts) const;
    void copy_expert(const float* from, float* to);

    const SyntheticModel& model_;
    Backend& backend_;
    Communicator* communicator_;
    ThreadPool& threads_;
    DecoderConfig config_;
    std::size_t expert_size_;
    std::vector<Layer> layers_;
    std::vector<HeldWeights> held_;  // of the routers
    std::vector<float> embedded_;
};

}  // namespace eplb

#endif
