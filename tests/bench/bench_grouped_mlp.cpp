// How much of the rate of one large matrix product the grouped expert products reach.
#include <Eigen/Core>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

#include "kernels/cpu/cpu_backend.h"

namespace {

using namespace eplb;

constexpr int kHidden = 2048;
constexpr int kIntermediate = 1024;
constexpr int kRowsPerExpert = 128;
constexpr int kNumExperts = 8;
constexpr int kLarge = 2048;

// GFLOP/s of the best of some runs
double rate(double flop, const std::function<void()>& work) {
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
        const auto start = std::chrono::steady_clock::now();
        work();
        best = std::min(
            best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return flop / best * 1e-9;
}

}  // namespace

int main() {
    // one thread on both sides: threads would share the experts, and Eigen here has none
    const Eigen::MatrixXf a = Eigen::MatrixXf::Random(kLarge, kLarge);
    const Eigen::MatrixXf b = Eigen::MatrixXf::Random(kLarge, kLarge);
    Eigen::MatrixXf c(kLarge, kLarge);
    const double large = rate(2.0 * kLarge * kLarge * kLarge, [&] { c.noalias() = a * b; });

    ThreadPool threads(1);
    CpuBackend backend(threads);
    const ExpertShape shape = {kHidden, kIntermediate};
    std::vector<std::vector<float>> weights(kNumExperts);
    std::vector<const float*> slots;
    std::vector<std::int32_t> slot_begin = {0};
    for (std::vector<float>& expert : weights) {
        expert.resize(shape.num_weights());
        Eigen::Map<Eigen::VectorXf>(expert.data(), static_cast<Eigen::Index>(expert.size()))
            .setRandom();
        slots.push_back(expert.data());
        slot_begin.push_back(slot_begin.back() + kRowsPerExpert);
    }
    const Eigen::MatrixXf input = Eigen::MatrixXf::Random(kHidden, slot_begin.back());
    Eigen::MatrixXf output(kHidden, slot_begin.back());
    const double flop = 2.0 * static_cast<double>(shape.num_weights()) * slot_begin.back();
    const double grouped = rate(flop, [&] {
        backend.grouped_mlp(shape, slots, slot_begin, nullptr, input.data(), output.data());
    });
    std::printf("one Eigen product of %d x %d x %d: %.1f GFLOP/s\n", kLarge, kLarge, kLarge, large);
    std::printf(
        "grouped experts, hidden %d, intermediate %d, %d rows each: %.1f GFLOP/s, %.0f %%\n",
        kHidden, kIntermediate, kRowsPerExpert, grouped, 100 * grouped / large);
    return 0;
}
