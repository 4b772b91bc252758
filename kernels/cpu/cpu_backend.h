#ifndef EPLB_KERNELS_CPU_CPU_BACKEND_H
#define EPLB_KERNELS_CPU_CPU_BACKEND_H

#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/matrix_work.h"
#include "lib/base/parallel.h"

namespace eplb {

// Eigen's matrix products on tiles of tokens, one thread each.
class CpuBackend final : public Backend {
  public:
    explicit CpuBackend(ThreadPool& threads);

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
               float* normalized,
               std::int32_t* expert_ids,
               float* weights,
               float* margins) override;
    void grouped_mlp(std::span<const MlpWeights> slot_weights,
                     std::span<const std::int32_t> slot_begin,
                     const std::int32_t* source_rows,
                     const float* input,
                     float* output) override;
    void combine(std::span<const std::int32_t> tokens,
                 const CombineArguments& arguments,
                 float* hidden) override;

    // Matrix products so far, of all threads: those of grouped_mlp() and the others.
    MatrixWork expert_work() const;
    MatrixWork other_work() const;

  private:
    struct Tile {
        int slot;
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
};

}  // namespace eplb

#endif
