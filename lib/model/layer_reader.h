#ifndef EPLB_MODEL_LAYER_READER_H
#define EPLB_MODEL_LAYER_READER_H

#include <atomic>
#include <functional>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "lib/model/checkpoint.h"
#include "lib/model/layer_weights.h"

namespace eplb {

// The layers of a checkpoint, one after another: while one is in use the next is read. Weights are
// views of mapped files, so that the system may take their memory back where it runs short.
class LayerReader {
  public:
    // Checks that layers [0, num_layers) are complete and of the right shapes; the last one only
    // routes where last_routes_only, the others have some experts, experts[i] of the i-th layer
    // that has any. Errors name file and tensor.
    LayerReader(const DecoderConfig& config,
                const Checkpoint& checkpoint,
                int num_layers,
                bool last_routes_only,
                const std::vector<ExpertIds>& experts);
    ~LayerReader();
    LayerReader(const LayerReader&) = delete;
    LayerReader& operator=(const LayerReader&) = delete;

    WeightMatrix embedding() const { return embedding_; }

    // Views and decoded vectors of a layer, valid until it is dropped. Where start_reading() was
    // called for it, waits for that to end.
    LayerWeights load(int layer);

    // Reads a layer into memory in the background; at most one at a time. is_stopped, unless empty,
    // is asked there between tensors; where it says yes, reading ends early.
    void start_reading(int layer, std::function<bool()> is_stopped);

    void drop(int layer);
    void drop_embedding();

    // Other experts from the next load() on.
    void set_experts(int layer, const ExpertIds& experts);

    double layer_bytes(int layer) const;

    // What the matrices of a layer, and the embedding, point into.
    using Parts = std::vector<std::span<const std::byte>>;
    const Parts& parts(int layer) const { return parts_[layer]; }
    const Parts& embedding_parts() const { return embedding_parts_; }

  private:
    void check(int layer);
    void finish_reading();

    const DecoderConfig& config_;
    const Checkpoint& checkpoint_;
    std::vector<std::optional<ExpertIds>> experts_;  // [num_layers]
    std::vector<Parts> parts_;                       // [num_layers]
    WeightMatrix embedding_;
    Parts embedding_parts_;
    std::thread thread_;
    std::atomic<bool> is_closing_ = false;
};

}  // namespace eplb

#endif
