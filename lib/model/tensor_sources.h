#ifndef EPLB_MODEL_TENSOR_SOURCES_H
#define EPLB_MODEL_TENSOR_SOURCES_H

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/model/checkpoint.h"
#include "lib/model/layer_weights.h"

namespace eplb {

// A checkpoint's tensors, checked for dtype and shape: F32, F16 and BF16 everywhere, F8_E4M3 with
// weight_scale_inv for linear layers, MXFP4 (two U8 tensors) for fused experts.
class CheckpointTensors : public TensorSource {
  public:
    explicit CheckpointTensors(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

    std::vector<float> values(const std::string& name, std::vector<int> shape) override;
    WeightMatrix linear(const std::string& name, int num_rows, int num_columns) override;
    std::vector<WeightMatrix> mxfp4_experts(const std::string& name,
                                            int num_experts,
                                            const ExpertIds& experts,
                                            int num_rows,
                                            int num_columns) override;
    WeightMatrix embedding(const std::string& name, int num_rows, int num_columns) override;

    // Whether values() are decoded, which reads them, or only checked (and come back empty).
    void set_reads_values(bool reads) { reads_values_ = reads; }

    // The bytes behind everything that was asked for so far.
    const std::vector<std::span<const std::byte>>& parts() const { return parts_; }

  private:
    Checkpoint::TensorView find(const std::string& name,
                                const std::vector<std::int64_t>& shape) const;
    // the same, and its bytes become one of parts()
    Checkpoint::TensorView use(const std::string& name, const std::vector<std::int64_t>& shape);

    const Checkpoint& checkpoint_;
    bool reads_values_ = true;
    std::vector<std::span<const std::byte>> parts_;
};

// Counts what a checkpoint holds by its config.json alone.
class PlannedTensors : public TensorSource {
  public:
    explicit PlannedTensors(const DecoderConfig& config) : config_(config) {}

    std::vector<float> values(const std::string& name, std::vector<int> shape) override;
    WeightMatrix linear(const std::string& name, int num_rows, int num_columns) override;
    std::vector<WeightMatrix> mxfp4_experts(const std::string& name,
                                            int num_experts,
                                            const ExpertIds& experts,
                                            int num_rows,
                                            int num_columns) override;
    WeightMatrix embedding(const std::string& name, int num_rows, int num_columns) override;

    double num_bytes() const { return num_bytes_; }
    double num_weights() const { return num_weights_; }

  private:
    void add(double num_weights, WeightType type);

    const DecoderConfig& config_;
    double num_bytes_ = 0;
    double num_weights_ = 0;
};

}  // namespace eplb

#endif
