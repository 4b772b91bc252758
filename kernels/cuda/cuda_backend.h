#ifndef EPLB_KERNELS_CUDA_CUDA_BACKEND_H
#define EPLB_KERNELS_CUDA_CUDA_BACKEND_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "kernels/backends.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/matrix_products.h"
#include "kernels/cuda/stage_clock.h"
#include "kernels/cuda/upload_ring.h"
#include "kernels/cuda/weight_store.h"

namespace eplb {

// A GPU. Kernels of kernels/cuda/launch.h, and cuBLAS for the matrix products. One thread at a time
// uses it; several may use one each.
//
// Errors of the device end it: after one only its destructor may be called.
class CudaBackend final : public Backend {
  public:
    CudaBackend(int device, const BackendOptions& options);

    void* allocate(std::size_t num_bytes) override { return device_.allocate(num_bytes); }
    void release(void* memory) noexcept override { device_.release(memory); }
    void upload(const void* host, std::size_t num_bytes, void* memory) override;
    void download(const void* memory, std::size_t num_bytes, void* host) override;
    void synchronize() override { device_.wait(); }
    void start_download(const void* memory, std::size_t num_bytes, void* host) override;
    void* allocate_host(std::size_t num_bytes) override;
    void release_host(void* memory) noexcept override { device_.release_host(memory); }
    void hold_weights(WeightParts parts) override { weights_.hold(parts); }
    void drop_weights(WeightParts parts) override { weights_.drop(parts); }

    void begin_stage(int stage) override { clock_.begin(stage); }
    std::vector<double> stage_seconds() override { return clock_.seconds(); }

    void copy_rows(const CopyArguments& copy, const float* from, float* to) override;
    void gather_rows(const std::int32_t* source_rows,
                     std::int64_t num_rows,
                     std::size_t row_bytes,
                     const void* from,
                     void* to) override;
    bool all_finite(const float* values, std::int64_t num_values) override;
    void embed(const WeightMatrix& table,
               std::span<const std::int32_t> token_ids,
               float* output) override;
    void rms_norm(const NormArguments& norm,
                  std::int64_t num_rows,
                  const float* input,
                  float* output) override;
    void linear(const WeightMatrix& weight,
                const float* bias,
                int num_tokens,
                const float* input,
                float* output,
                bool add) override;
    void clamp(float limit, std::int64_t num_values, float* values) override;
    void rotate(const RotaryArguments& rotary,
                std::span<const std::int32_t> positions,
                float* values) override;
    void attention(const AttentionArguments& attention,
                   std::span<const AttentionPiece> pieces) override;
    void route(const RouterArguments& router,
               int num_tokens,
               const float* hidden,
               const RoutedTokens& routed) override;
    void plan_dispatch(const DispatchArguments& dispatch, const DispatchRows& rows) override;
    void grouped_mlp(std::span<const MlpWeights> experts,
                     std::span<const std::int32_t> row_begin,
                     const std::int32_t* source_rows,
                     const float* input,
                     float* output) override;
    void combine(int num_tokens, const CombineArguments& arguments, float* hidden) override;

    // For who puts work of its own into the stream.
    CudaDevice& device() { return device_; }

  private:
    // Pinned memory between the GPU's and what download() fills.
    struct Part {
        PinnedMemory memory;
        CudaEvent filled;
    };

    CudaDevice device_;
    WeightStore weights_;
    MatrixProducts products_;
    UploadRing uploads_;
    StageClock clock_;
    std::array<Part, 2> parts_;

    CudaWorkspace host_values_;  // what a call has in host memory
    CudaWorkspace logits_;
    CudaWorkspace dispatch_;
    CudaWorkspace found_;
    std::vector<MlpWeights> experts_;  // of grouped_mlp(), in device memory
};

}  // namespace eplb

#endif
