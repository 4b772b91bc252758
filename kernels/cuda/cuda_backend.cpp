#include "kernels/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>
#include <utility>

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
      parts_{Download{PinnedMemory(device_), CudaEvent(device_, CudaEvent::Kind::ordering)},
             Download{PinnedMemory(device_), CudaEvent(device_, CudaEvent::Kind::ordering)}},
      downloads_{Download{PinnedMemory(device_), CudaEvent(device_, CudaEvent::Kind::ordering)},
                 Download{PinnedMemory(device_), CudaEvent(device_, CudaEvent::Kind::ordering)}},
      host_values_(device_),
      logits_(device_),
      dispatch_(device_),
      found_(device_) {
    // pinned memory is got while nothing waits for another device: getting it waits for the GPU
    for (Download& part : parts_)
        part.memory.grow(kPartBytes);
}

CudaBackend::~CudaBackend() {
    for (auto& [key, replay] : replays_)
        discard(replay);
}

void CudaBackend::upload(const void* host, std::size_t num_bytes, void* memory) {
    uploads_.copy(host, num_bytes, memory);
}

void CudaBackend::download(const void* memory, std::size_t num_bytes, void* host) {
    // two buffers by turns: one is emptied while the other is filled
    auto* to = static_cast<std::byte*>(host);
    const auto empty = [&](const Download& download) {
        if (download.num_bytes > 0)
            std::memcpy(to, wait_for(download).data(), download.num_bytes);
        to += download.num_bytes;
    };
    std::size_t turn = 0;
    parts_[0].num_bytes = parts_[1].num_bytes = 0;
    for (std::size_t offset = 0; offset < num_bytes; offset += kPartBytes) {
        start(parts_[turn], static_cast<const std::byte*>(memory) + offset,
              std::min(kPartBytes, num_bytes - offset));
        turn = 1 - turn;
        empty(parts_[turn]);
        parts_[turn].num_bytes = 0;
    }
    empty(parts_[1 - turn]);
}

void CudaBackend::fill_zero(void* memory, std::size_t num_bytes) {
    if (num_bytes > 0)
        device_.check(cudaMemsetAsync(memory, 0, num_bytes, device_.stream()), "cudaMemsetAsync");
}

int CudaBackend::start_download(const void* memory, std::size_t num_bytes) {
    const int ticket = next_download_;
    next_download_ = 1 - next_download_;
    start(downloads_[ticket], memory, num_bytes);
    return ticket;
}

std::span<const std::byte> CudaBackend::finish_download(int ticket) {
    return wait_for(downloads_[ticket]);
}

void CudaBackend::start(Download& download, const void* memory, std::size_t num_bytes) {
    device_.refuse_capture();
    if (num_bytes > download.memory.num_bytes())
        device_.wait();  // growing waits too, but hears of no failure
    download.memory.grow(num_bytes);
    download.num_bytes = num_bytes;
    if (num_bytes > 0)
        device_.check(cudaMemcpyAsync(download.memory.data(), memory, num_bytes,
                                      cudaMemcpyDeviceToHost, device_.stream()),
                      "cudaMemcpyAsync");
    device_.check(cudaEventRecord(download.done.get(), device_.stream()), "cudaEventRecord");
}

std::span<const std::byte> CudaBackend::wait_for(const Download& download) {
    device_.wait(download.done.get());
    return {download.memory.data(), download.num_bytes};
}

void CudaBackend::replay(int key, const std::function<void()>& work) {
    Replay& replay = replays_[key];
    const bool is_current = replay.num_moves == device_.num_moves();
    if (is_current && replay.can_record && (replay.graph != nullptr || record(replay, work))) {
        device_.check(cudaGraphLaunch(replay.graph, device_.stream()), "cudaGraphLaunch");
        return;
    }
    discard(replay);
    in_replay_ = true;
    try {
        work();
    } catch (...) {
        in_replay_ = false;
        throw;
    }
    in_replay_ = false;
    replay.num_moves = device_.num_moves();
}

// Says whether work could be recorded.
bool CudaBackend::record(Replay& replay, const std::function<void()>& work) {
    device_.begin_capture();
    in_replay_ = true;
    cudaGraph_t graph = nullptr;
    const auto end = [&] {
        in_replay_ = false;
        graph = device_.end_capture();
    };
    try {
        work();
        end();
    } catch (const CannotCapture&) {
        replay.can_record = false;
        end();
        static_cast<void>(cudaGraphDestroy(graph));
        return false;
    } catch (...) {
        if (device_.is_capturing()) {
            try {
                end();
                static_cast<void>(cudaGraphDestroy(graph));
            } catch (...) {  // the first error says more
            }
        }
        throw;
    }
    const cudaError_t status = cudaGraphInstantiate(&replay.graph, graph, 0);
    static_cast<void>(cudaGraphDestroy(graph));
    device_.check(status, "cudaGraphInstantiate");
    return true;
}

void CudaBackend::discard(Replay& replay) noexcept {
    if (replay.graph != nullptr)
        static_cast<void>(cudaGraphExecDestroy(replay.graph));
    replay.graph = nullptr;
}

void CudaBackend::forget_replays() {
    for (auto& [key, replay] : replays_)
        discard(replay);
    replays_.clear();
}

void CudaBackend::begin_stage(int stage) {
    // a graph's events tell no time
    if (!in_replay_)
        clock_.begin(stage);
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
    fill_zero(found, sizeof(*found));
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
    auto* const logits = logits_.grow<float>(static_cast<std::size_t>(num_tokens) *
                                             static_cast<std::size_t>(num_experts));
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

void CudaBackend::assign_slots(const SlotTables& tables,
                               const RankArguments& ranks,
                               int first_rank,
                               int num_tokens,
                               int top_k,
                               const std::int32_t* expert_ids,
                               std::int32_t* slot_ids,
                               std::int32_t* counts) {
    cuda::assign_slots(tables, ranks, first_rank, num_tokens, top_k, expert_ids, slot_ids, counts,
                       device_.stream());
}

void CudaBackend::plan_dispatch(const DispatchArguments& dispatch, const DispatchRows& rows) {
    void* const workspace = dispatch_.grow(cuda::dispatch_workspace_bytes(dispatch));
    cuda::plan_dispatch(dispatch, rows, workspace, device_.stream());
}

void CudaBackend::grouped_mlp(std::span<const MlpWeights> slot_weights,
                              std::span<const std::int32_t> slot_begin,
                              const std::int32_t* source_rows,
                              const float* input,
                              float* output) {
    // of slots without rows the weights may not be held
    slot_weights_.assign(slot_weights.begin(), slot_weights.end());
    for (std::size_t slot = 0; slot < slot_weights.size(); ++slot)
        if (slot_begin[slot + 1] > slot_begin[slot])
            slot_weights_[slot] = weights_.find(slot_weights[slot]);
    products_.grouped_mlp(slot_weights_, slot_begin, source_rows, input, output);
}

void CudaBackend::combine(int num_tokens,
                          const std::int32_t* tokens,
                          const CombineArguments& arguments,
                          float* hidden) {
    cuda::combine(num_tokens, tokens, arguments, hidden, device_.stream());
}

}  // namespace eplb
