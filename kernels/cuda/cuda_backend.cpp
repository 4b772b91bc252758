#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/launch.h"

namespace eplb {
namespace {

constexpr std::size_t kPartBytes = std::size_t{4} << 20;  // of downloads

}  // namespace

CudaBackend::CudaBackend(int device, const BackendOptions& options)
    : device_(device),
      weights_(device_),
      products_(device_, options),
      uploads_(device_),
      clock_(device_),
      parts_{Part{PinnedMemory(device_), CudaEvent(device_, CudaEvent::Kind::ordering)},
             Part{PinnedMemory(device_), CudaEvent(device_, CudaEvent::Kind::ordering)}},
      host_values_(device_),
      logits_(device_),
      dispatch_(device_),
      found_(device_) {
    // pinned memory is got while nothing waits for another device: getting it waits for the GPU
    for (Part& part : parts_)
        part.memory.grow(kPartBytes);
}

void CudaBackend::upload(const void* host, std::size_t num_bytes, void* memory) {
    uploads_.copy(host, num_bytes, memory);
}

void CudaBackend::download(const void* memory, std::size_t num_bytes, void* host) {
    if (num_bytes == 0)
        return synchronize();
    // two parts by turns: one is emptied while the other is filled
    const auto part_at = [&](std::size_t offset) -> Part& {
        return parts_[offset / kPartBytes % parts_.size()];
    };
    const auto size_at = [&](std::size_t offset) {
        return std::min(kPartBytes, num_bytes - offset);
    };
    const auto fill = [&](std::size_t offset) {
        const Part& part = part_at(offset);
        start_download(static_cast<const std::byte*>(memory) + offset, size_at(offset),
                       part.memory.data());
        device_.check(cudaEventRecord(part.filled.get(), device_.stream()), "cudaEventRecord");
    };
    fill(0);
    for (std::size_t offset = 0; offset < num_bytes; offset += kPartBytes) {
        if (offset + kPartBytes < num_bytes)
            fill(offset + kPartBytes);
        const Part& part = part_at(offset);
        device_.wait(part.filled.get());
        std::memcpy(static_cast<std::byte*>(host) + offset, part.memory.data(), size_at(offset));
    }
}

void CudaBackend::start_download(const void* memory, std::size_t num_bytes, void* host) {
    if (num_bytes > 0)
        device_.check(
            cudaMemcpyAsync(host, memory, num_bytes, cudaMemcpyDeviceToHost, device_.stream()),
            "cudaMemcpyAsync");
}

void* CudaBackend::allocate_host(std::size_t num_bytes) {
    device_.wait();  // as getting it may, which hears of no other device's failure
    return device_.allocate_host(num_bytes);
}

void CudaBackend::copy_rows(const CopyArguments& copy, const float* from, float* to) {
    cuda::copy_rows(copy, from, to, device_.stream());
}

void CudaBackend::gather_rows(const std::int32_t* source_rows,
                              std::int64_t num_rows,
                              std::size_t row_bytes,
                              const void* from,
                              void* to) {
    cuda::gather_rows(source_rows, num_rows, row_bytes, from, to, device_.stream());
}

bool CudaBackend::all_finite(const float* values, std::int64_t num_values) {
    auto* const found = found_.grow<std::int32_t>(1);
    device_.check(cudaMemsetAsync(found, 0, sizeof(*found), device_.stream()), "cudaMemsetAsync");
    cuda::find_non_finite(values, num_values, found, device_.stream());
    std::int32_t num_found = 0;
    download(found, sizeof(num_found), &num_found);
    return num_found == 0;
}

void CudaBackend::embed(const WeightMatrix& table,
                        std::span<const std::int32_t> token_ids,
                        float* output) {
    auto* const ids = host_values_.grow<std::int32_t>(token_ids.size());
    upload(token_ids.data(), token_ids.size_bytes(), ids);
    cuda::embed(weights_.find(table), ids, static_cast<std::int64_t>(token_ids.size()), output,
                device_.stream());
}

void CudaBackend::rms_norm(const NormArguments& norm,
                           std::int64_t num_rows,
                           const float* input,
                           float* output) {
    NormArguments found = norm;
    found.weight = weights_.find(norm.weight);
    cuda::rms_norm(found, num_rows, input, output, device_.stream());
}

void CudaBackend::linear(const WeightMatrix& weight,
                         const float* bias,
                         int num_tokens,
                         const float* input,
                         float* output,
                         bool add) {
    products_.linear(weights_.find(weight), weights_.find(bias), num_tokens, input, output, add);
}

void CudaBackend::clamp(float limit, std::int64_t num_values, float* values) {
    cuda::clamp(limit, num_values, values, device_.stream());
}

void CudaBackend::rotate(const RotaryArguments& rotary,
                         std::span<const std::int32_t> positions,
                         float* values) {
    RotaryArguments found = rotary;
    found.frequencies = weights_.find(rotary.frequencies);
    auto* const on_device = host_values_.grow<std::int32_t>(positions.size());
    upload(positions.data(), positions.size_bytes(), on_device);
    cuda::rotate(found, on_device, static_cast<std::int64_t>(positions.size()), values,
                 device_.stream());
}

void CudaBackend::attention(const AttentionArguments& attention,
                            std::span<const AttentionPiece> pieces) {
    AttentionArguments found = attention;
    found.sinks = weights_.find(attention.sinks);
    cuda::attention(found, pieces, device_.stream());
}

void CudaBackend::route(const RouterArguments& router,
                        int num_tokens,
                        const float* hidden,
                        const RoutedTokens& routed) {
    const int num_experts = router.spec->num_experts;
    auto* const logits = logits_.grow<float>(std::int64_t{num_tokens} * num_experts);
    rms_norm({.weight = router.norm,
              .size = router.hidden_size,
              .epsilon = router.epsilon,
              .input_stride = router.hidden_size,
              .output_stride = router.hidden_size},
             num_tokens, hidden, routed.normalized);
    products_.router_logits(weights_.find(router.weight), num_experts, router.hidden_size,
                            num_tokens, routed.normalized, logits);
    cuda::select(*router.spec, weights_.find(router.logit_bias), weights_.find(router.bias),
                 num_tokens, logits, routed, device_.stream());
}

void CudaBackend::plan_dispatch(const DispatchArguments& dispatch, const DispatchRows& rows) {
    void* const workspace = dispatch_.grow(cuda::dispatch_workspace_bytes(dispatch));
    cuda::plan_dispatch(dispatch, rows, workspace, device_.stream());
}

void CudaBackend::grouped_mlp(std::span<const MlpWeights> experts,
                              std::span<const std::int32_t> row_begin,
                              const std::int32_t* source_rows,
                              const float* input,
                              float* output) {
    // of experts without rows the weights may not be held
    experts_.assign(experts.begin(), experts.end());
    for (std::size_t e = 0; e < experts.size(); ++e)
        if (row_begin[e + 1] > row_begin[e])
            experts_[e] = weights_.find(experts[e]);
    products_.grouped_mlp(experts_, row_begin, source_rows, input, output);
}

void CudaBackend::combine(int num_tokens, const CombineArguments& arguments, float* hidden) {
    cuda::combine(num_tokens, arguments, hidden, device_.stream());
}

}  // namespace eplb
