#include <algorithm>
#include <cstring>
#include <mutex>
#include <random>

#include "kernels/cpu/cpu_backend.h"
#include "lib/collect/checkpoint_layers.h"
#include "lib/engines/engine.h"
#include "tests/collect/device_threads.h"
#include "tests/collect/runs.h"
#include "tests/model_fixtures.h"
#include "tests/test_support.h"

namespace eplb::test_layer_sources {

// Which weights a device has, however often its experts change.

namespace {

constexpr int kEpSize = 4;

// Placements of a layer that follow one another: shuffled, and every other time another expert has
// the extra slots.
std::vector<Placement> placements_of(int num_experts, int slots_per_rank, int num_rounds) {
    std::mt19937 generator(2);
    std::vector<Placement> placements = {
        default_engine().default_placement(num_experts, kEpSize, slots_per_rank)};
    while (static_cast<int>(placements.size()) <= num_rounds) {
        Placement next = placements.back();
        std::shuffle(next.expert_ids.begin(), next.expert_ids.end(), generator);
        if (placements.size() % 2 == 0)
            for (int& expert : next.expert_ids)
                if (std::count(next.expert_ids.begin(), next.expert_ids.end(), expert) > 1) {
                    expert = static_cast<int>(generator() % static_cast<unsigned>(num_experts));
                    break;
                }
        placements.push_back(next);
    }
    return placements;
}

// check(expert, its weights) of what the devices have after each move; not in a test's own thread
void move_around(const test::TestModel& model,
                 int layer,
                 int num_devices,
                 const std::vector<Placement>& placements,
                 const std::function<void(int expert, const MlpWeights& weights)>& check) {
    const int num_experts = model.moe().router.num_experts;
    ExpertLayout layout = lay_out_experts(model.moe(), kEpSize,
                                          test::default_config(placements.front().num_slots(), 1),
                                          num_devices, LoopOrder::by_iteration);
    std::mutex mutex;
    test::on_devices(num_devices, [&](int device, ProcessGroup&, Communicator& communicator) {
        ThreadPool threads(1);
        CpuBackend backend(threads);
        const std::unique_ptr<LayerSource> source =
            model.source(layout, device, LoopOrder::by_iteration, backend, &communicator, threads);
        ExpertPlaces places(placements.front(), num_experts, num_devices);
        for (const Placement& placement : placements) {
            ExpertPlaces next(placement, num_experts, num_devices);
            source->move_experts(layer, places, next);
            places = next;
            const LayerWeights& weights = source->load(layer);
            const std::vector<int>& experts = places.experts(device);
            if (weights.experts.size() != experts.size())
                throw Error("a device has not as many experts as its places");
            const std::lock_guard lock(mutex);
            for (std::size_t i = 0; i < experts.size(); ++i)
                check(experts[i], weights.experts[i]);
            source->release(layer);
        }
    });
}

}  // namespace

TEST_CASE("made weights travel to where a placement wants them") {
    Preset preset = find_preset("mixtral-8x7b");
    preset.model.layers.resize(2);
    preset.model.hidden_size = 32;
    preset.model.intermediate_size = 16;
    const test::PresetModel model(preset);
    std::vector<std::vector<float>> experts(8);
    for (int e = 0; e < 8; ++e) {
        experts[e].resize(model.model().expert_shape().num_weights());
        model.model().make_expert(1, e, experts[e]);
    }
    for (const int num_devices : {1, 2, 4}) {
        int num_checked = 0;
        move_around(model, model.moe().layers[1], num_devices, placements_of(8, 3, 20),
                    [&](int expert, const MlpWeights& weights) {
                        const std::vector<float>& expected = experts[expert];
                        const std::size_t third = expected.size() / 3 * sizeof(float);
                        if (std::memcmp(weights.gate.data, expected.data(), 3 * third) != 0 ||
                            weights.up.data != weights.gate.data + third ||
                            weights.down.data != weights.up.data + third)
                            throw Error("these are not the expert's weights");
                        ++num_checked;
                    });
        CHECK(num_checked >= 21 * 8);
    }
}

TEST_CASE("a checkpoint's weights are mapped anew where a placement moves") {
    for (const std::string name : {"deepseek_v3_fp8", "gpt_oss", "qwen2_moe"}) {
        INFO(name);
        const test::CheckpointModel model(test::model_folder(name));
        const int num_experts = model.moe().router.num_experts;
        const int layer = model.moe().layers.front();
        LayerReader reader(model.config(), model.checkpoint(), layer + 1, false,
                           std::vector<ExpertIds>(1, all_experts(num_experts)));
        const LayerWeights all = reader.load(layer);
        for (const int num_devices : {1, 2, 4}) {
            int num_checked = 0;
            move_around(model, layer, num_devices,
                        placements_of(num_experts, num_experts / kEpSize + 1, 10),
                        [&](int expert, const MlpWeights& weights) {
                            const MlpWeights& expected = all.experts[expert];
                            if (weights.gate.data != expected.gate.data ||
                                weights.up.data != expected.up.data ||
                                weights.down.data != expected.down.data)
                                throw Error("these are not the expert's weights");
                            ++num_checked;
                        });
            CHECK(num_checked >= 11 * num_experts);
        }
    }
}

TEST_CASE("the last layer of a checkpoint routes only, wherever its experts are") {
    const test::CheckpointModel model(test::model_folder("mixtral"),
                                      test::CheckpointModel::Last::only_routes);
    const ExpertLayout layout =
        lay_out_experts(model.moe(), 2, test::default_config(10, 1), 2, LoopOrder::by_iteration);
    ThreadPool threads(1);
    CpuBackend backend(threads);
    CheckpointLayers layers(model.config(), model.checkpoint(), layout, 0, LoopOrder::by_iteration,
                            backend);
    const int last = model.layers().back();
    CHECK(layers.load(last).routes_only);
    layers.move_experts(last, layout.places.back(), ExpertPlaces::in_order(8, 2));
    CHECK(layers.load(last).routes_only);
    CHECK(layers.load(last).experts.empty());
}

}  // namespace eplb::test_layer_sources
