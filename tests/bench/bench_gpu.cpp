// What a GPU's routing, experts and exchanges cost against what bounds them, all measured
// in one run: see scripts/bench_gpu. "--tiny" is a test of this program, not of a GPU.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/nccl_communicator.h"
#include "kernels/device_buffer.h"
#include "lib/base/error.h"

using namespace eplb;

namespace {

struct Sizes {
    std::vector<int> route_tokens = {128, 8192, 65536};
    int num_experts = 256;
    int top_k = 8;
    int hidden_size = 7168;
    int intermediate_size = 2048;
    int num_tokens = 8192;  // of experts and exchanges
    std::size_t copy_bytes = std::size_t{1} << 30;
    int num_runs = 20;
};

Sizes tiny_sizes() {
    return {.route_tokens = {5, 40},
            .num_experts = 16,
            .top_k = 4,
            .hidden_size = 32,
            .intermediate_size = 16,
            .num_tokens = 24,
            .copy_bytes = 4096,
            .num_runs = 2};
}

// A run of one process.
class SingleProcess final : public ProcessGroup {
  public:
    int rank() const override { return 0; }
    int size() const override { return 1; }
    std::vector<std::string> all_gather(std::string_view bytes) override {
        return {std::string(bytes)};
    }
    std::vector<std::string> gather(std::string_view bytes) override {
        return {std::string(bytes)};
    }
    void barrier() override {}
    void check() override {}
    void fail(std::string_view) noexcept override {}
    void interrupt() noexcept override {}
};

class Bench {
  public:
    Bench(const Sizes& sizes, int num_gpu)
        : sizes_(sizes), gpu_(num_gpu, {.precision = ProductPrecision::bf16}) {}

    void run() {
        std::printf("%-44s %12s %12s %7s\n", "", "measured us", "bound us", "ratio");
        measure_bandwidth();
        bench_routing();
        bench_experts();
        bench_exchange();
    }

  private:
    // seconds of one call, by the GPU's clock
    double seconds_of(const std::function<void()>& call) {
        call();  // workspaces grow, libraries choose
        const double before = stage_one();
        gpu_.begin_stage(1);
        for (int i = 0; i < sizes_.num_runs; ++i)
            call();
        gpu_.begin_stage(0);
        return (stage_one() - before) / sizes_.num_runs;
    }
    double stage_one() {
        const std::vector<double> seconds = gpu_.stage_seconds();
        return seconds.size() > 1 ? seconds[1] : 0;
    }

    void print(const std::string& what, double seconds, double bound) const {
        std::printf("%-44s %12.2f %12.2f %7.2f\n", what.c_str(), 1e6 * seconds, 1e6 * bound,
                    seconds / bound);
    }

    double copy_seconds(std::size_t num_bytes) {
        DeviceBuffer<std::byte> from(gpu_);
        DeviceBuffer<std::byte> to(gpu_);
        from.grow(num_bytes);
        to.grow(num_bytes);
        return seconds_of([&] {
            CudaDevice& device = gpu_.device();
            device.check(cudaMemcpyAsync(to.data(), from.data(), num_bytes,
                                         cudaMemcpyDeviceToDevice, device.stream()),
                         "cudaMemcpyAsync");
        });
    }

    void measure_bandwidth() {
        const double seconds = copy_seconds(sizes_.copy_bytes);
        bytes_per_second_ = 2 * static_cast<double>(sizes_.copy_bytes) / seconds;
        std::printf("device-to-device copy: %.0f GB/s read and written\n",
                    1e-9 * bytes_per_second_);
    }

    // selection, given the logits; the bound is reading the logits and writing ids
    // and weights
    void bench_routing() {
        const int num_groups = sizes_.num_experts >= 64 ? 8 : 4;
        const RouterSpec spec = {.score_function = ScoreFunction::sigmoid,
                                 .num_experts = sizes_.num_experts,
                                 .top_k = sizes_.top_k,
                                 .has_bias = true,
                                 .num_groups = num_groups,
                                 .top_groups = num_groups / 2};
        for (const int num_tokens : sizes_.route_tokens) {
            const auto num_pairs =
                static_cast<std::size_t>(num_tokens) * static_cast<std::size_t>(spec.top_k);
            const DeviceBuffer<float> logits = random_floats(
                static_cast<std::size_t>(num_tokens) * static_cast<std::size_t>(spec.num_experts));
            const DeviceBuffer<float> bias =
                random_floats(static_cast<std::size_t>(spec.num_experts));
            DeviceBuffer<std::int32_t> ids(gpu_);
            DeviceBuffer<float> weights(gpu_);
            ids.grow(num_pairs);
            weights.grow(num_pairs);
            const double seconds = seconds_of([&] {
                cuda::select(
                    spec, nullptr, bias.data(), num_tokens, logits.data(),
                    {.normalized = nullptr, .expert_ids = ids.data(), .weights = weights.data()},
                    gpu_.device().stream());
            });
            const double num_bytes =
                4.0 * num_tokens * spec.num_experts + 8.0 * static_cast<double>(num_pairs);
            print("select, " + std::to_string(num_tokens) + " tokens", seconds,
                  num_bytes / bytes_per_second_);
        }
    }

    // the bound is what one large product in the same run takes for as many operations
    void bench_experts() {
        const int large = std::min(8192, 4 * sizes_.hidden_size);
        const DeviceBuffer<std::byte> large_weight = weight_memory(large, large);
        const DeviceBuffer<float> x =
            random_floats(static_cast<std::size_t>(large) * static_cast<std::size_t>(large));
        DeviceBuffer<float> y(gpu_);
        y.grow(x.capacity());
        const double seconds = seconds_of([&] {
            gpu_.linear(matrix(large_weight.data(), large, large), nullptr, large, x.data(),
                        y.data(), false);
        });
        const double flop_per_second = 2.0 * large * large * large / seconds;
        std::printf("one bf16 product of %d x %d x %d: %.1f TFLOP/s\n", large, large, large,
                    1e-12 * flop_per_second);

        // as many experts as there is memory for, leaving half of it to the rest
        const std::size_t matrix_bytes = static_cast<std::size_t>(sizes_.hidden_size) *
                                         static_cast<std::size_t>(sizes_.intermediate_size) * 2;
        std::size_t free = 0;
        std::size_t total = 0;
        gpu_.device().check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
        const int num_experts = static_cast<int>(std::min<std::size_t>(
            free / 2 / (3 * matrix_bytes), static_cast<std::size_t>(sizes_.num_experts)));
        if (num_experts == 0)
            throw Error("bench_gpu: no memory for one expert; end what else uses the GPU");
        std::vector<DeviceBuffer<std::byte>> memory;
        std::vector<MlpWeights> experts;
        for (int e = 0; e < num_experts; ++e) {
            MlpWeights& expert = experts.emplace_back();
            expert.gate = matrix(
                memory.emplace_back(weight_memory(sizes_.intermediate_size, sizes_.hidden_size))
                    .data(),
                sizes_.intermediate_size, sizes_.hidden_size);
            expert.up = matrix(
                memory.emplace_back(weight_memory(sizes_.intermediate_size, sizes_.hidden_size))
                    .data(),
                sizes_.intermediate_size, sizes_.hidden_size);
            expert.down = matrix(
                memory.emplace_back(weight_memory(sizes_.hidden_size, sizes_.intermediate_size))
                    .data(),
                sizes_.hidden_size, sizes_.intermediate_size);
        }
        const int num_rows = sizes_.num_tokens * sizes_.top_k;
        std::vector<std::int32_t> row_begin;
        for (std::int64_t e = 0; e <= num_experts; ++e)
            row_begin.push_back(static_cast<std::int32_t>(num_rows * e / num_experts));
        const DeviceBuffer<float> input = random_floats(
            static_cast<std::size_t>(num_rows) * static_cast<std::size_t>(sizes_.hidden_size));
        DeviceBuffer<float> output(gpu_);
        output.grow(input.capacity());
        const double grouped = seconds_of(
            [&] { gpu_.grouped_mlp(experts, row_begin, nullptr, input.data(), output.data()); });
        print("experts, " + std::to_string(num_rows) + " rows over " + std::to_string(num_experts),
              grouped,
              6.0 * num_rows * sizes_.hidden_size * sizes_.intermediate_size / flop_per_second);
    }

    // the bound is a copy of the same bytes
    void bench_exchange() {
        SingleProcess group;
        NcclCommunicator communicator(gpu_, group);
        const std::size_t num_bytes = static_cast<std::size_t>(sizes_.num_tokens) *
                                      static_cast<std::size_t>(sizes_.top_k) *
                                      static_cast<std::size_t>(sizes_.hidden_size) * sizeof(float);
        const double bound = 2 * copy_seconds(num_bytes);
        DeviceBuffer<std::byte> rows(gpu_);
        DeviceBuffer<std::byte> received(gpu_);
        rows.grow(num_bytes);
        received.grow(num_bytes);
        const std::vector<std::int64_t> begin = {0, static_cast<std::int64_t>(num_bytes)};
        const double seconds = seconds_of([&] {
            communicator.exchange(rows.data(), begin, received.data(), begin);
            communicator.exchange(received.data(), begin, rows.data(), begin);
        });
        print("dispatch and combine with itself, " + std::to_string(num_bytes >> 20) + " MiB each",
              seconds, bound);
    }

    // spread as random numbers are, the same in every run
    DeviceBuffer<float> random_floats(std::size_t size) {
        std::vector<float> values(size);
        std::uint32_t state = 1;
        for (float& value : values) {
            state = state * 1664525U + 1013904223U;
            value = static_cast<float>(state >> 8) / 8388608.0F - 1.0F;
        }
        DeviceBuffer<float> buffer(gpu_);
        buffer.upload(values);
        return buffer;
    }

    // zeros would need less power, and run faster
    DeviceBuffer<std::byte> weight_memory(int num_rows, int num_columns) {
        const std::size_t size =
            static_cast<std::size_t>(num_rows) * static_cast<std::size_t>(num_columns);
        const DeviceBuffer<float> values = random_floats(size);
        DeviceBuffer<std::byte> memory(gpu_);
        memory.grow(2 * size);
        cuda::convert_to_bf16(nullptr, num_rows, num_columns, num_columns, values.data(),
                              reinterpret_cast<std::uint16_t*>(memory.data()),
                              gpu_.device().stream());
        return memory;
    }

    static WeightMatrix matrix(const std::byte* data, int num_rows, int num_columns) {
        return {.type = WeightType::bf16,
                .num_rows = num_rows,
                .num_columns = num_columns,
                .data = data};
    }

    Sizes sizes_;
    CudaBackend gpu_;
    double bytes_per_second_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    const bool tiny = argc == 2 && std::strcmp(argv[1], "--tiny") == 0;
    if (argc > 1 && !tiny) {
        std::fprintf(stderr, "usage: bench_gpu [--tiny]\n");
        return 2;
    }
    try {
        if (num_cuda_devices() == 0) {
            std::puts("bench_gpu: skipped, no GPU");
            return 77;
        }
        Bench(tiny ? tiny_sizes() : Sizes(), 0).run();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "bench_gpu: error: %s\n", error.what());
        return 1;
    }
    return 0;
}
