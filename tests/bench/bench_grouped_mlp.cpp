// How much of the rate of one large matrix product the CPU kernels reach, decoding included.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/matrix_product.h"
#include "lib/base/random.h"
#include "lib/model/decode.h"

namespace {

using namespace eplb;

constexpr int kRuns = 5;

// The least processor time that some work took so far, in seconds: others may use the machine.
class BestTime {
  public:
    void measure(const std::function<void()>& work) {
        const std::clock_t start = std::clock();
        work();
        seconds_ = std::min(seconds_, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    double seconds() const { return seconds_; }

  private:
    double seconds_ = 1e9;
};

// One large Eigen product, which everything is compared with at about the same time.
class LargeProduct {
  public:
    LargeProduct()
        : a_(Eigen::MatrixXf::Random(kSize, kSize)), b_(a_.reverse()), c_(kSize, kSize) {}

    // Prints the rate of some work, and its share of the product's.
    void compare(const std::string& what, double flop, const std::function<void()>& work) {
        BestTime large;
        BestTime time;
        for (int i = 0; i < kRuns; ++i) {
            large.measure([&] { c_.noalias() = a_ * b_; });
            time.measure(work);
        }
        const double large_rate = 2.0 * kSize * kSize * kSize / large.seconds() * 1e-9;
        const double rate = flop / time.seconds() * 1e-9;
        std::printf("%-56s %6.1f GFLOP/s %4.0f %% of %.1f\n", what.c_str(), rate,
                    100 * rate / large_rate, large_rate);
        std::fflush(stdout);
    }

  private:
    static constexpr int kSize = 2048;
    Eigen::MatrixXf a_;
    Eigen::MatrixXf b_;
    Eigen::MatrixXf c_;
};

const char* name_of(WeightType type) {
    switch (type) {
        case WeightType::f32:
            return "f32";
        case WeightType::f16:
            return "f16";
        case WeightType::bf16:
            return "bf16";
        case WeightType::f8_e4m3:
            return "fp8";
        case WeightType::mxfp4:
            return "mxfp4";
    }
    return "";
}

std::vector<float> random_values(std::size_t size) {
    std::vector<float> values(size);
    for (std::size_t i = 0; i < size; ++i)
        values[i] = static_cast<float>(mix_bits(i) >> 40) * 0x1p-23F - 1.0F;
    return values;
}

// Weights of one type, of magnitudes up to 1 or so.
struct Stored {
    Stored(WeightType type, int num_rows, int num_columns) {
        matrix = {.type = type, .num_rows = num_rows, .num_columns = num_columns};
        const std::vector<float> values = random_values(static_cast<std::size_t>(num_rows) *
                                                        static_cast<std::size_t>(num_columns));
        const auto bits = [&](std::size_t i) { return std::bit_cast<std::uint32_t>(values[i]); };
        const auto put = [&](auto code) {
            const auto* const bytes = reinterpret_cast<const std::byte*>(&code);
            data.insert(data.end(), bytes, bytes + sizeof(code));
        };
        for (std::size_t i = 0; i < values.size(); ++i)
            if (type == WeightType::f32)
                put(values[i]);
            else if (type == WeightType::bf16)
                put(static_cast<std::uint16_t>(bits(i) >> 16));
            else if (type == WeightType::f16)
                put(static_cast<std::uint16_t>(bits(i) >> 16 & 0xbbffU));
            else if (type == WeightType::f8_e4m3)
                put(static_cast<std::uint8_t>(bits(i) & 0xbfU));
            else if (i % 2 == 0)
                put(static_cast<std::uint8_t>(bits(i)));
        if (type == WeightType::f8_e4m3) {
            factors.resize(values.size() / 128, 0.5F);
            matrix.scales = reinterpret_cast<const std::byte*>(factors.data());
        } else if (type == WeightType::mxfp4) {
            exponents.resize(values.size() / 32, std::byte{124});
            matrix.scales = exponents.data();
        }
        matrix.data = data.data();
    }

    WeightMatrix matrix;
    std::vector<std::byte> data;
    std::vector<float> factors;
    std::vector<std::byte> exponents;
};

void bench_experts(LargeProduct& large,
                   Backend& backend,
                   WeightType type,
                   int hidden,
                   int width,
                   int num_experts,
                   const std::vector<int>& row_counts) {
    std::vector<Stored> gates, ups, downs;
    std::vector<MlpWeights> slots;
    gates.reserve(num_experts);
    for (int e = 0; e < num_experts; ++e) {
        gates.emplace_back(type, width, hidden);
        ups.emplace_back(type, width, hidden);
        downs.emplace_back(type, hidden, width);
        slots.push_back(
            {.gate = gates.back().matrix, .up = ups.back().matrix, .down = downs.back().matrix});
    }
    for (const int num_rows : row_counts) {
        std::vector<std::int32_t> begin = {0};
        for (int e = 0; e < num_experts; ++e)
            begin.push_back(begin.back() + num_rows);
        const std::vector<float> input = random_values(static_cast<std::size_t>(begin.back()) *
                                                       static_cast<std::size_t>(hidden));
        std::vector<float> output(input.size());
        large.compare(std::string("experts ") + name_of(type) + ", " + std::to_string(hidden) +
                          " x " + std::to_string(width) + ", " + std::to_string(num_experts) +
                          " of " + std::to_string(num_rows) + " rows",
                      6.0 * hidden * width * begin.back(), [&] {
                          backend.grouped_mlp(slots, begin, nullptr, input.data(), output.data());
                      });
    }
}

void bench_linear(LargeProduct& large, Backend& backend, WeightType type) {
    constexpr int kSize = 2048;
    constexpr int kTokens = 512;
    const Stored weight(type, kSize, kSize);
    const std::vector<float> input = random_values(std::size_t{kTokens} * kSize);
    std::vector<float> output(input.size());
    large.compare(std::string("linear ") + name_of(type) + ", 2048 x 2048, 512 rows",
                  2.0 * kSize * kSize * kTokens, [&] {
                      backend.linear(weight.matrix, nullptr, kTokens, input.data(), output.data(),
                                     false);
                  });
}

void bench_attention(LargeProduct& large, Backend& backend) {
    constexpr int kHeads = 16;
    constexpr int kSize = 128;
    constexpr int kPositions = 2048;
    const std::vector<float> values = random_values(std::size_t{kPositions} * kHeads * kSize);
    std::vector<float> output(values.size());
    const Backend::AttentionArguments arguments = {kHeads, kHeads, kSize, kSize, 0.1F, 0, nullptr};
    const Backend::AttentionPiece piece = {
        0, kPositions, values.data(), values.data(), values.data(), output.data()};
    large.compare("attention, 16 heads of 128, 2048 positions, causal half",
                  2.0 * kPositions * kPositions * kHeads * kSize, [&] {
                      backend.attention(arguments, {&piece, 1});
                  });
}

void bench_decode(WeightType type) {
    constexpr int kRows = 128;
    constexpr int kColumns = 2048;
    const Stored stored(type, kRows, kColumns);
    std::vector<float> panel(std::size_t{kRows} * kColumns);
    BestTime time;
    for (int run = 0; run < kRuns; ++run)
        time.measure([&] {
            for (int repeat = 0; repeat < 20; ++repeat)
                for (int row = 0; row < kRows; ++row)
                    decode_row(stored.matrix, row, 0, kColumns,
                               panel.data() + static_cast<std::size_t>(row) * kColumns);
        });
    std::printf("decoding %-5s to fp32 %54.1f GB/s of output\n", name_of(type),
                20.0 * kRows * kColumns * sizeof(float) / time.seconds() * 1e-9);
}

}  // namespace

int main(int argc, char** argv) {
    // all, or one of the parts
    const std::string part = argc > 1 ? argv[1] : "";
    const auto wanted = [&](const char* name) { return part.empty() || part == name; };
    // one thread on both sides: threads would share the experts, and Eigen here has none
    LargeProduct large;
    ThreadPool threads(1);
    CpuBackend backend(threads);
    // the sizes of OLMoE's experts, and of DeepSeek-R1's
    for (const WeightType type : {WeightType::f32, WeightType::bf16, WeightType::f8_e4m3})
        if (wanted(name_of(type)))
            bench_experts(large, backend, type, 2048, 1024, 16, {32, 128, 250, 512});
    if (wanted("r1"))
        bench_experts(large, backend, WeightType::f8_e4m3, 7168, 2048, 4, {250, 512});
    if (wanted("linear"))
        bench_linear(large, backend, WeightType::bf16);
    if (wanted("attention"))
        bench_attention(large, backend);
    if (!wanted("decode"))
        return 0;
    for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::bf16,
                                  WeightType::f8_e4m3, WeightType::mxfp4})
        bench_decode(type);
    return 0;
}
