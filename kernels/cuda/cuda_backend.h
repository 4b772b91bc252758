#ifndef EPLB_KERNELS_CUDA_CUDA_BACKEND_H
#define EPLB_KERNELS_CUDA_CUDA_BACKEND_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
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
    ~CudaBackend() override;

    void* allocate(std::size_t num_bytes) override { return device_.allocate(num_bytes); }
    void release(void* memory) noexcept override { device_.release(memory); }
    void upload(const void* host, std::size_t num_bytes, void* memory) override;
    void download(const void* memory, std::size_t num_bytes, void* host) override;
    void fill_zero(void* memory, std::size_t num_bytes) override;
    void synchronize() override { device_.wait(); }
    int start_download(const void* memory, std::size_t num_bytes) override;
    std::span<const std::byte> finish_download(int ticket) override;
    void hold_weights(WeightParts parts) override { weights_.hold(parts); }
    void drop_weights(WeightParts parts) override { weights_.drop(parts); }

    // The first call of a key runs work, so that workspaces grow and weights arrive; the second
    // records it as a graph, which that one and the next launch. Work that cannot be recorded is
    // run. Stages that begin within count to the one before.
    void replay(int key, const std::function<void()>& work) override;
    void forget_replays() override;

    void begin_stage(int stage) override;
    std::vector<double> stage_seconds() override { return clock_.seconds(); }
    double counting_seconds() const override { return 0; }

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
    void assign_slots(const SlotTables& tables,
                      const RankArguments& ranks,
                      int first_rank,
                      int num_tokens,
                      int top_k,
                      const std::int32_t* expert_ids,
                      std::int32_t* slot_ids,
                      std::int32_t* counts) override;
    void plan_dispatch(const DispatchArguments& dispatch, const DispatchRows& rows) override;
    void grouped_mlp(std::span<const MlpWeights> slot_weights,
                     std::span<const std::int32_t> slot_begin,
                     const std::int32_t* source_rows,
                     const float* input,
                     float* output) override;
    void combine(int num_tokens,
                 const std::int32_t* tokens,
                 const CombineArguments& arguments,
                 float* hidden) override;

    // For who puts work of its own into the stream.
    CudaDevice& device() { return device_; }

  private:
    struct Download {
        PinnedMemory memory;
        CudaEvent done;
        std::size_t num_bytes = 0;
    };
    struct Replay {
        cudaGraphExec_t graph = nullptr;
        // the device's count of moves when work was last run or recorded; -1: not yet
        long num_moves = -1;
        bool can_record = true;
    };

    void start(Download& download, const void* memory, std::size_t num_bytes);
    std::span<const std::byte> wait_for(const Download& download);
    bool record(Replay& replay, const std::function<void()>& work);
    static void discard(Replay& replay) noexcept;

    CudaDevice device_;
    WeightStore weights_;
    MatrixProducts products_;
    UploadRing uploads_;
    StageClock clock_;
    std::array<Download, 2> parts_;      // of download()
    std::array<Download, 2> downloads_;  // by ticket
    int next_download_ = 0;
    std::map<int, Replay> replays_;
    bool in_replay_ = false;

    CudaWorkspace host_values_;  // what a call has in host memory
    CudaWorkspace logits_;
    CudaWorkspace dispatch_;
    CudaWorkspace found_;
    std::vector<MlpWeights> slot_weights_;
};

}  // namespace eplb

#endif
