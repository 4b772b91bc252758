#ifndef EPLB_KERNELS_CPU_CPU_BACKEND_H
#define EPLB_KERNELS_CPU_CPU_BACKEND_H

#include <vector>

#include "kernels/backend.h"
#include "lib/base/parallel.h"

namespace eplb {

// Eigen's matrix products on tiles of tokens, one thread each.
class CpuBackend final : public Backend {
  public:
    explicit CpuBackend(ThreadPool& threads);

    void route(const RouterArguments& router,
               int num_tokens,
               const float* hidden,
               float* normalized,
               std::int32_t* expert_ids,
               float* weights) override;
    void grouped_mlp(const ExpertShape& shape,
                     std::span<const float* const> slot_weights,
                     std::span<const std::int32_t> slot_begin,
                     const std::int32_t* source_rows,
                     const float* input,
                     float* output) override;
    void combine(int num_tokens,
                 const std::int32_t* tokens,
                 int top_k,
                 int hidden_size,
                 const std::int32_t* rows,
                 const float* weights,
                 const float* expert_output,
                 const float* shared_output,
                 float* hidden) override;

  private:
    struct Tile {
        int slot;
        std::int32_t begin;
        int num_rows;
    };

    std::vector<float>& scratch(int thread, std::size_t size);

    ThreadPool& threads_;
    std::vector<std::vector<float>> scratch_;  // per thread, kept between calls
    std::vector<Tile> tiles_;
};

}  // namespace eplb

#endif
