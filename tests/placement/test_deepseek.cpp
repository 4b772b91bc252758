#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lib/placement/upstream/hierarchical.h"
#include "tests/test_support.h"

namespace eplb::test_deepseek {

using eplb::place_deepseek;
using eplb::Placement;
using eplb::test::error_of;

namespace {

using Loads = std::vector<float>;
using Ids = std::vector<int>;

const Loads kReadmeLayer0 = {90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
const Loads kReadmeLayer1 = {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};

// Groups of experts that stand on the ranks of one node.
std::vector<bool> groups_of_node(
    const Placement& placement, int node, int num_nodes, int group_size, int num_groups) {
    std::vector<bool> present(num_groups);
    const int ranks_per_node = placement.ep_size / num_nodes;
    for (int rank = node * ranks_per_node; rank < (node + 1) * ranks_per_node; ++rank)
        for (const int expert : placement.rank(rank))
            present[expert / group_size] = true;
    return present;
}

}  // namespace

TEST_CASE("the hierarchical policy gives the placement of DeepSeek's README") {
    CHECK(place_deepseek(kReadmeLayer0, 8, 16, 2, 4).expert_ids ==
          Ids{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1});
    CHECK(place_deepseek(kReadmeLayer1, 8, 16, 2, 4).expert_ids ==
          Ids{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1});
}

TEST_CASE("the global policy ignores groups and nodes") {
    const Ids expected = {10, 6, 10, 7, 0, 2, 11, 4, 5, 9, 5, 4, 8, 3, 1, 1};
    CHECK(place_deepseek(kReadmeLayer0, 8, 16).expert_ids == expected);
    CHECK(place_deepseek(kReadmeLayer0, 8, 16, 1, 4).expert_ids == expected);
    CHECK(place_deepseek(kReadmeLayer0, 8, 16, 8, 4).expert_ids == expected);
    CHECK(place_deepseek(kReadmeLayer1, 8, 16).expert_ids ==
          Ids{1, 10, 2, 4, 5, 11, 5, 0, 6, 7, 6, 3, 8, 8, 9, 7});
}

TEST_CASE("placements equal those of DeepSeek's own program") {
    const auto fixture = nlohmann::json::parse(
        eplb::test::read_text(eplb::test::test_data() / "placement" / "deepseek.json"));
    REQUIRE(fixture["cases"].size() > 100);
    for (const auto& expected : fixture["cases"]) {
        CAPTURE(expected["kind"].get<std::string>(), expected["ep_size"].get<int>(),
                expected["num_slots"].get<int>(), expected["num_nodes"].get<int>(),
                expected["num_groups"].get<int>());
        for (std::size_t layer = 0; layer < expected["load"].size(); ++layer) {
            const auto load = expected["load"][layer].get<Loads>();
            const Placement placement =
                place_deepseek(load, expected["ep_size"], expected["num_slots"],
                               expected["num_nodes"], expected["num_groups"]);
            CHECK(placement.expert_ids == expected["expert_ids"][layer].get<Ids>());
        }
    }
}

TEST_CASE("in the hierarchical policy every group stands on one node") {
    const Loads load = {9, 1, 4, 7, 30, 2, 8, 8, 5, 0, 3, 3, 12, 6, 1, 1};
    const Placement placement = place_deepseek(load, 8, 24, 4, 8);
    std::vector<int> num_nodes_of_group(8);
    for (int node = 0; node < 4; ++node) {
        const std::vector<bool> present = groups_of_node(placement, node, 4, 2, 8);
        for (std::size_t group = 0; group < present.size(); ++group)
            num_nodes_of_group[group] += present[group];
    }
    CHECK(num_nodes_of_group == std::vector<int>(8, 1));
}

TEST_CASE("a DeepSeek request that cannot be is refused with the remedy") {
    const Loads load(12, 1.0F);
    CHECK(error_of([&] { place_deepseek(load, 8, 20); }) ==
          "num_slots 20 is not a multiple of ep_size 8; nearest: 16 and 24");
    CHECK(error_of([&] { place_deepseek(load, 8, 8); }) ==
          "num_slots 8 is less than the 12 experts, which need a slot each; the smallest for "
          "ep_size 8 is 16");
    CHECK(error_of([&] { place_deepseek(load, 8, 16, 3, 3); }) ==
          "num_nodes 3 does not divide ep_size 8: all nodes have the same number of ranks; "
          "num_nodes 1 "
          "leaves nodes out of account");
    CHECK(error_of([&] { place_deepseek(load, 8, 16, 2, 5); }) ==
          "num_groups 5 does not divide the 12 experts; give the model's number of expert groups, "
          "or 1");
}

}  // namespace eplb::test_deepseek
