#ifndef EPLB_KERNELS_CPU_CPU_BACKEND_H
#define EPLB_KERNELS_CPU_CPU_BACKEND_H

#include <chrono>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/matrix_work.h"
#include "lib/base/parallel.h"

namespace eplb {

// Eigen's matrix products on tiles of tokens, one thread each.
class CpuBackend final : public Backend {
  public:
    explicit CpuBackend(ThreadPool& threads);

    void* allocate(std::size_t num_bytes) override;
    void release(void* memory) noexcept override;
    void upload(const void* host, std::size_t num_bytes, void* memory) override;
    void download(const void* memory, std::size_t num_bytes, void* host) override;
    void synchronize() override {}
    const void* host_address(const void* memory) const override { return memory; }
    void start_download(const void* memory, std::size_t num_bytes, void* host) override {
        download(memory, num_bytes, host);
    }
    void* allocate_host(std::size_t num_bytes) override { return allocate(num_bytes); }
    void release_host(void* memory) noexcept override { release(memory); }
    void hold_weights(WeightParts) override {}
    void drop_weights(WeightParts) override {}
    void begin_stage(int stage) override;
    std::vector<double> stage_seconds() override;
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

    // Matrix products so far, of all threads: those of grouped_mlp() and the others.
    MatrixWork expert_work() const;
    MatrixWork other_work() const;

  private:
    struct Tile {
        int expert;
        std::int32_t begin;
        int num_rows;
    };
    // kept between calls; one per thread, on cache lines of its own
    struct alignas(64) Thread {
        std::vector<float> scratch;
        MatrixWork expert_work;
        MatrixWork other_work;
    };

    float* scratch(int thread, std::size_t size);
    void run_mlp(const MlpWeights& mlp,
                 const Tile& tile,
                 const std::int32_t* source_rows,
                 const float* input,
                 float* output,
                 int thread);

    ThreadPool& threads_;
    std::vector<Thread> of_thread_;
    std::vector<Tile> tiles_;
    std::vector<double> stage_seconds_;
    int stage_ = -1;
    std::chrono::steady_clock::time_point stage_start_;
};

}  // namespace eplb

#endif
