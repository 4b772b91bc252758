#include <cstring>
#include <random>
#include <vector>

#include "kernels/cpu/cpu_backend.h"
#include "lib/collect/expert_parallel.h"
#include "lib/collect/layer_slots.h"
#include "tests/test_support.h"

using namespace eplb;

TEST_CASE("tokens are cut into chunks as TensorRT-LLM cuts them") {
    CHECK(num_chunks(8192, 0) == 1);
    CHECK(num_chunks(8192, 8192) == 1);
    CHECK(num_chunks(8193, 8192) == 2);
    CHECK(num_chunks(4096, 1000) == 5);
    CHECK(num_chunks(0, 10) == 1);
    // 10 into 3: 4, 3, 3
    std::vector<int> sizes;
    for (int chunk = 0; chunk < 3; ++chunk) {
        const TokenRange range = chunk_of(10, 3, chunk);
        sizes.push_back(range.end - range.begin);
    }
    CHECK(sizes == std::vector<int>{4, 3, 3});
    for (int tokens = 0; tokens < 30; ++tokens)
        for (int chunks = 1; chunks < 9; ++chunks) {
            int next = 0;
            for (int chunk = 0; chunk < chunks; ++chunk) {
                const TokenRange range = chunk_of(tokens, chunks, chunk);
                REQUIRE(range.begin == next);
                next = range.end;
            }
            REQUIRE(next == tokens);
        }
}

TEST_CASE("weights follow the placement however often it changes") {
    ThreadPool threads(1);
    Preset preset = find_preset("mixtral-8x7b");
    preset.model.layers.resize(1);
    const SyntheticModel model(preset, 1, threads);
    std::mt19937 generator(2);
    Placement placement = default_placement(8, 4, 3);
    CpuBackend backend(threads);
    LayerSlots slots(model, 0, placement, backend, nullptr, threads);
    std::vector<float> expected(model.expert_shape().num_weights());
    for (int round = 0; round < 20; ++round) {
        for (std::size_t slot = 0; slot < placement.expert_ids.size(); ++slot) {
            model.make_expert(0, placement.expert_ids[slot], expected);
            const MlpWeights& held = slots.slot_weights()[slot];
            REQUIRE(std::memcmp(expected.data(), held.gate.data, expected.size() * sizeof(float)) ==
                    0);
            const auto third = static_cast<std::ptrdiff_t>(expected.size() / 3 * sizeof(float));
            REQUIRE(held.up.data == held.gate.data + third);
            REQUIRE(held.down.data == held.up.data + third);
        }
        const Placement before = placement;
        std::shuffle(placement.expert_ids.begin(), placement.expert_ids.end(), generator);
        if (round % 2 == 0)  // another expert's extra replica
            for (int& expert : placement.expert_ids)
                if (std::count(placement.expert_ids.begin(), placement.expert_ids.end(), expert) >
                    1) {
                    expert = static_cast<int>(generator() % 8);
                    break;
                }
        int num_changed = 0;
        for (std::size_t slot = 0; slot < placement.expert_ids.size(); ++slot)
            num_changed += placement.expert_ids[slot] != before.expert_ids[slot] ? 1 : 0;
        CHECK(slots.move_to(placement) == num_changed);
        CHECK(slots.placement() == placement);
    }
}
