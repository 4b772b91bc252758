#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "lib/engines/engine.h"
#include "lib/formats/configs/config_file.h"
#include "tests/test_support.h"

namespace eplb::test_engines {

using eplb::test::error_of;
using eplb::test::read_text;

TEST_CASE("engines are found by the format that they load") {
    std::set<std::string> names;
    for (const Engine* const engine : engines()) {
        CHECK(names.insert(engine->name).second);
        CHECK((engine->judge != nullptr) == engine->config_format.has_value());
        if (engine->config_format) {
            CHECK(engine_of(*engine->config_format) == engine);
            CHECK(layer_numbering(*engine->config_format) == engine->layer_numbering);
            // one word for an engine and its format
            CHECK(config_format_name(*engine->config_format) == engine->name);
        }
    }
    CHECK(names == std::set<std::string>{"hygon", "sglang", "trtllm", "vllm", "vllm-ascend"});
    CHECK(&default_engine() == &trtllm_engine);
    CHECK(engine_of(ConfigFormat::plain) == nullptr);
    CHECK(layer_numbering(ConfigFormat::plain) == LayerNumbering::layer_id);
}

TEST_CASE("the README has what to paste") {
    const std::string readme =
        read_text(test::test_data().parent_path().parent_path() / "README.md");
    for (const Engine* const engine : engines()) {
        CAPTURE(engine->name, engine->load_with);
        CHECK(std::string(engine->load_with).empty() == !engine->config_format.has_value());
        CHECK(readme.find(engine->load_with) != std::string::npos);
    }
}

TEST_CASE("TensorRT-LLM's default placement is its formula") {
    const Placement placement = trtllm_engine.default_placement(256, 36, 8);
    REQUIRE(placement.expert_ids.size() == 288);
    // 256 * 1 / 36 = 7.1, 256 * 2 / 36 = 14.2, 256 * 35 / 36 = 248.9
    const auto rank = [&](int rank_id) {
        const auto ids = placement.rank(rank_id);
        return std::vector<int>(ids.begin(), ids.end());
    };
    CHECK(rank(0) == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7});
    CHECK(rank(1) == std::vector<int>{7, 8, 9, 10, 11, 12, 13, 14});
    CHECK(rank(2) == std::vector<int>{14, 15, 16, 17, 18, 19, 20, 21});
    CHECK(rank(35) == std::vector<int>{248, 249, 250, 251, 252, 253, 254, 255});
    CHECK(num_duplicate_slots(placement) == 0);
    CHECK(trtllm_engine.default_placement(4, 2, 3).expert_ids ==
          std::vector<int>{0, 1, 2, 2, 3, 0});
}

TEST_CASE("default placements give every expert a slot") {
    for (const Engine* const engine : engines()) {
        CAPTURE(engine->name);
        for (int num_experts = 1; num_experts <= 24; ++num_experts)
            for (int ep_size = 1; ep_size <= 24; ++ep_size) {
                const int least = (num_experts + ep_size - 1) / ep_size;
                for (int slots_per_rank = least; slots_per_rank < least + 3; ++slots_per_rank) {
                    const Placement placement =
                        engine->default_placement(num_experts, ep_size, slots_per_rank);
                    REQUIRE(static_cast<int>(placement.expert_ids.size()) ==
                            ep_size * slots_per_rank);
                    REQUIRE(std::ranges::min(replica_counts(placement.expert_ids, num_experts)) >=
                            1);
                }
            }
        CHECK(error_of([&] { engine->default_placement(9, 2, 4); }) ==
              "default placement: 2 ranks with 4 slots each cannot hold 9 experts");
    }
}

TEST_CASE("SGLang and vLLM deal experts out in order over all ranks") {
    // sgl-project/sglang, ExpertLocationMetadata.init_trivial; vllm, EplbState.build: slot mod E
    for (const Engine* const engine : {&sglang_engine, &vllm_engine})
        CHECK(engine->default_placement(4, 2, 3).expert_ids == std::vector<int>{0, 1, 2, 3, 0, 1});
}

}  // namespace eplb::test_engines
