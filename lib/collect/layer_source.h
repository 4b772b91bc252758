#ifndef EPLB_COLLECT_LAYER_SOURCE_H
#define EPLB_COLLECT_LAYER_SOURCE_H

#include <string>
#include <vector>

#include "lib/collect/batch.h"
#include "lib/collect/expert_layout.h"
#include "lib/model/decoder_config.h"
#include "lib/model/layer_weights.h"

namespace eplb {

// Where the layers of a run come from: a checkpoint's are read, a synthetic model's are made. A
// source knows which experts its device holds.
class LayerSource {
  public:
    virtual ~LayerSource() = default;

    virtual const DecoderConfig& config() const = 0;
    // Decoder layers (model layer ids) that tokens go through, ascending.
    virtual const std::vector<int>& layers() const = 0;
    virtual const std::string& name() const = 0;  // for messages
    // Another model, or other weights, have another one.
    virtual std::string identity() const = 0;

    // Hidden states of the batch's tokens before the first layer, [rows][hidden_size], device
    // memory.
    virtual void embed(const Batch& batch, float* hidden) = 0;

    // A layer's weights, held by the backend; valid until release(). Layers come in order.
    virtual const LayerWeights& load(int layer) = 0;
    virtual void release(int layer) = 0;

    virtual double layer_bytes(int layer) const = 0;  // that are read; 0 where none are

    // What devices hold of a layer changes; all devices call this alike, between release() and
    // load().
    virtual void move_experts(int layer, const ExpertPlaces& from, const ExpertPlaces& to) = 0;
};

}  // namespace eplb

#endif
