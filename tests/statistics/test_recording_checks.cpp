#include <vector>

#include "lib/statistics/recording_checks.h"
#include "tests/test_support.h"

namespace eplb::test_recording_checks {

namespace {

using Counts = std::vector<std::int64_t>;  // [layers][num_experts] of an iteration

constexpr int kNumExperts = 6;

// Two layers, 3 and 7; top_k 2.
ExpertStatistics recording(const std::vector<Counts>& iterations) {
    ExpertStatistics statistics;
    statistics.num_experts = kNumExperts;
    statistics.top_k = 2;
    statistics.ep_size = statistics.num_sources = 1;
    statistics.layers = {3, 7};
    statistics.iter_start = 100;
    statistics.num_iterations = static_cast<int>(iterations.size());
    for (const Counts& counts : iterations)
        statistics.counts.insert(statistics.counts.end(), counts.begin(), counts.end());
    return statistics;
}

const Counts kPlain = {9, 5, 3, 1, 1, 1, 2, 2, 2, 4, 5, 5};
const Counts kOther = {1, 5, 3, 9, 1, 1, 2, 2, 5, 4, 2, 5};
const Counts kOneRoute = {0, 32, 0, 0, 32, 0, 32, 0, 32, 0, 0, 0};

}  // namespace

TEST_CASE("a plain recording is not warned of") {
    CHECK(recording_warnings(recording({kPlain, kOther, kPlain})).empty());
    CHECK(recording_warnings(recording({kPlain})).empty());
    CHECK(recording_warnings(recording({kOneRoute})).empty());  // nothing to compare it with
}

TEST_CASE("layers without tokens") {
    const Counts idle = {0, 0, 0, 0, 0, 0, 2, 2, 2, 4, 5, 5};
    CHECK(recording_warnings(recording({idle})) ==
          std::vector<std::string>{
              "layer 3 holds no tokens: nothing is known of how tokens are routed there"});
    CHECK(recording_warnings(recording({idle, kOther})).size() == 1);  // of unequal totals
}

TEST_CASE("layers that differ in their totals") {
    const Counts short_layer = {9, 5, 3, 1, 1, 1, 2, 2, 2, 4, 5, 0};
    CHECK(recording_warnings(recording({short_layer})) ==
          std::vector<std::string>{
              "layers differ in their totals, by 25 % from 15 (layer 7) to 20 (layer 3): some "
              "passes were not recorded in all of them; each layer is balanced by its own"});
}

TEST_CASE("iterations that look like warm-up") {
    const auto warnings = [](const std::vector<Counts>& iterations) {
        return recording_warnings(recording(iterations));
    };
    CHECK(warnings({kPlain, kPlain, kOther}) ==
          std::vector<std::string>{"iterations 100-102 hold the same counts, as warm-up passes do; "
                                   "leave them out with iter_start 102"});
    CHECK(warnings({kPlain, kPlain}) ==
          std::vector<std::string>{"all iterations hold the same counts, as warm-up passes do"});
    CHECK(warnings({kOneRoute, kPlain, kOther}) ==
          std::vector<std::string>{
              "iterations 100-101 sent all tokens to the same experts, as warm-up passes do; leave "
              "them out with iter_start 101"});
    CHECK(warnings({kPlain, kOneRoute}).empty());  // not at the start

    // another number of experts than a token takes, or so few tokens that it may be chance
    Counts three_experts = kOneRoute;
    three_experts[0] = 32;
    three_experts[7] = 32;
    CHECK(warnings({three_experts, kPlain}).empty());
    Counts few_tokens = kOneRoute;
    for (std::int64_t& count : few_tokens)
        count /= 8;
    CHECK(warnings({few_tokens, kPlain}).empty());
}

TEST_CASE("workloads share experts, layers and, where both say so, experts per token") {
    const ExpertStatistics first = recording({kPlain});
    const auto error_with = [&](const auto& change) {
        ExpertStatistics other = first;
        change(other);
        return test::error_of([&] { require_alike(other, "b", first, "a"); });
    };
    CHECK(error_with([](ExpertStatistics&) {}).empty());
    CHECK(error_with([](ExpertStatistics& other) { other.top_k = 0; }).empty());
    CHECK(error_with([](ExpertStatistics& other) { other.num_experts = 8; }) ==
          "b: has other experts (8, not 6) than a; workloads of one model share them");
    CHECK(error_with([](ExpertStatistics& other) { other.top_k = 4; }) ==
          "b: has other experts per token than a; workloads of one model share them");
    CHECK(error_with([](ExpertStatistics& other) {
              other.layers = {3, 8};
          }) == "b: has other layers than a; workloads of one model share them");
}

}  // namespace eplb::test_recording_checks
