#ifndef EPLB_KERNELS_CPU_CPU_BACKEND_H
#define EPLB_KERNELS_CPU_CPU_BACKEND_H

#include <array>
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
    void fill_zero(void* memory, std::size_t num_bytes) override;
    void synchronize() override {}
    const void* host_address(const void* memory) const override { return memory; }
    int start_download(const void* memory, std::size_t num_bytes) override;
    std::span<const std::byte> finish_download(int ticket) override;
    void hold_weights(WeightParts) override {}
    void drop_weights(WeightParts) override {}
    void replay(int, const std::function<void()>& work) override { work(); }
    void forget_replays() override {}
    void begin_stage(int stage) override;
    std::vector<double> stage_seconds() override;
    double counting_seconds() const override { return counting_seconds_; }
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

    void count_ids(const RankArguments& ranks,
                   int top_k,
                   int num_counters,
                   const std::int32_t* ids,
                   std::int32_t* counts);

    ThreadPool& threads_;
    std::vector<Thread> of_thread_;
    std::vector<Tile> tiles_;
    std::array<std::vector<std::byte>, 2> downloads_;
    int next_download_ = 0;
    std::vector<double> stage_seconds_;
    int stage_ = -1;
    std::chrono::steady_clock::time_point stage_start_;
    double counting_seconds_ = 0;
};

}  // namespace eplb

#endif
