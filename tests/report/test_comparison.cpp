#include <deque>
#include <nlohmann/json.hpp>
#include <vector>

#include "lib/report/views/comparison.h"
#include "tests/report/subjects.h"
#include "tests/test_support.h"

namespace eplb::test_comparison {

using namespace eplb::test;

namespace {

Table table_of(const std::vector<const Subject*>& subjects, Pairing pairing) {
    std::deque<MeasuredSubject> all;
    std::vector<const MeasuredSubject*> pointers;
    for (const Subject* const subject : subjects)
        pointers.push_back(&all.emplace_back(measured(*subject)));
    return comparison_table(pointers, pairing);
}

nlohmann::json compare(const std::vector<const Subject*>& subjects,
                       Pairing pairing = Pairing::independent) {
    return test::json_of(table_of(subjects, pairing));
}

// Two ranks, 1000 tokens an iteration: imbalance ratio spread / 500.
Counts two_ranks(const std::vector<int>& spreads) {
    Counts counts;
    for (const int spread : spreads)
        counts.push_back({500 + spread, 500 - spread});
    return counts;
}

std::string text_of_notes(const nlohmann::json& table) {
    std::string text;
    for (const auto& note : table["notes"])
        text += note.get<std::string>() + "\n";
    return text;
}

}  // namespace

// two experts on two ranks: 6 of mean 4 is 0.5, 8 is 1
TEST_CASE("a comparison gives differences, relative and absolute, and means over layers") {
    const Subject before = subject_of("a", 2, {3, 10}, {{{6, 2}, {6, 2}}, {{8, 0}, {8, 0}}});
    const Subject after = subject_of("b", 2, {3, 10}, {{{4, 4}, {6, 2}}, {{2, 6}, {0, 8}}});
    const nlohmann::json table = compare({&before, &after});
    CHECK(table["rows"][0]["layer"] == 3);
    CHECK(table["rows"][0]["imbalance_ratio_1"] == 0.5);
    CHECK(table["rows"][0]["imbalance_ratio_2"] == 0.25);
    CHECK(table["rows"][0]["delta_2"] == -0.25);
    CHECK(table["rows"][0]["change_2"] == -0.5);
    CHECK(table["rows"][1]["delta_2"] == -0.25);
    CHECK(table["rows"][1]["change_2"] == -0.25);
    CHECK(table["average"]["imbalance_ratio_1"] == 0.75);
    CHECK(table["average"]["imbalance_ratio_2"] == 0.5);
    CHECK(table["average"]["change_2"] == Approx(-1.0 / 3));
    CHECK(table["name_1"] == "a");
    CHECK(table["name_2"] == "b");
    // two iterations are too few
    CHECK(table["rows"][0]["significant_2"] == "?");
    CHECK(table["delta_2_low"].is_null());
    const std::string notes = text_of_notes(table);
    CHECK(notes.find("too few iterations with tokens for an interval") != std::string::npos);
    CHECK(notes.find("Average imbalance 0.750 -> 0.500; worst layer 10: 1.000 -> 0.750.") !=
          std::string::npos);
}

TEST_CASE("a load compared with itself has not changed") {
    const Subject one = subject_of("a", 2, {3}, {two_ranks({9, 80, 4, 30, 7, 1, 60, 12, 44})});
    for (const Pairing pairing : {Pairing::paired, Pairing::independent}) {
        const nlohmann::json table = compare({&one, &one}, pairing);
        CHECK(table["rows"][0]["delta_2"] == 0);
        CHECK(table["rows"][0]["change_2"] == 0);
        CHECK(table["rows"][0]["significant_2"] == "~");
        CHECK(table["average"]["significant_2"] == "~");
    }
}

// a shift of 0.02 in noise of 0.2: hidden between recordings, plain in each iteration of one
TEST_CASE("pairing shows a change that the noise of iterations hides") {
    const std::vector<int> noise = {50, 150, 20, 120, 80, 10, 140, 70, 160, 30, 90, 110};
    std::vector<int> lower = noise;
    for (int& spread : lower)
        spread -= 10;
    const Subject before = subject_of("a", 2, {3}, {two_ranks(noise)});
    const Subject after = subject_of("b", 2, {3}, {two_ranks(lower)});
    const nlohmann::json paired = compare({&before, &after}, Pairing::paired);
    CHECK(paired["rows"][0]["delta_2"] == Approx(-0.02));
    CHECK(paired["rows"][0]["significant_2"] == "");
    CHECK(paired["delta_2_low"] == Approx(-0.02));
    CHECK(paired["delta_2_high"] == Approx(-0.02));
    const nlohmann::json apart = compare({&before, &after});
    CHECK(apart["rows"][0]["significant_2"] == "~");
    CHECK(apart["delta_2_low"] < -0.05);
    CHECK(apart["delta_2_high"] > 0.02);
}

TEST_CASE("only layers of all subjects are compared, and the others counted") {
    const Subject first = subject_of("a", 2, {1, 3, 5}, {{{6, 2}}, {{6, 2}}, {{6, 2}}});
    const Subject second = subject_of("b", 2, {3, 4}, {{{4, 4}}, {{8, 0}}});
    const nlohmann::json table = compare({&first, &second});
    REQUIRE(table["rows"].size() == 1);
    CHECK(table["rows"][0]["layer"] == 3);
    CHECK(text_of_notes(table).find("3 layers are not in all of them and left out.") !=
          std::string::npos);
    const Subject apart = subject_of("c", 2, {7}, {{{6, 2}}});
    CHECK(test::error_of([&] {
              compare({&first, &apart});
          }) == "c: has no layer in common with a; give recordings of the same model");
}

TEST_CASE("a layer without tokens in one of them is in no average") {
    const Subject first = subject_of("a", 2, {1, 2}, {{{6, 2}}, {{8, 0}}});
    const Subject second = subject_of("b", 2, {1, 2}, {{{4, 4}}, {{0, 0}}});
    const nlohmann::json table = compare({&first, &second});
    CHECK(table["rows"][1]["imbalance_ratio_1"].is_null());
    CHECK(table["rows"][1]["delta_2"].is_null());
    CHECK(table["average"]["imbalance_ratio_1"] == 0.5);
    CHECK(table["average"]["imbalance_ratio_2"] == 0);
}

TEST_CASE("each further subject is set against the first, with a verdict of its own") {
    const Subject a = subject_of("a", 2, {1}, {{{8, 0}}});
    const Subject b = subject_of("b", 2, {1}, {{{6, 2}}});
    const Subject c = subject_of("c", 1, {1}, {{{6, 2}}});
    const nlohmann::json table = compare({&a, &b, &c});
    CHECK(table["rows"][0]["delta_2"] == -0.5);
    CHECK(table["rows"][0]["delta_3"] == -1);
    const std::string notes = text_of_notes(table);
    CHECK(notes.find("1 -> 2: average imbalance 1.000 -> 0.500") != std::string::npos);
    CHECK(notes.find("1 -> 3: average imbalance 1.000 -> 0.000") != std::string::npos);
    CHECK(notes.find("The numbers of ranks differ") != std::string::npos);
}

TEST_CASE("a layer with tokens in few iterations has no interval, nor has the average with it") {
    Tokens first(2);
    Tokens second(2);
    for (int i = 0; i < 12; ++i) {
        first[0].push_back({10, 10});
        second[0].push_back({15, 5 + i % 2});
        first[1].push_back({i == 3 ? 9 : 0, i == 3 ? 1 : 0});
        second[1].push_back({5, 5});
    }
    const Subject one = subject_of(first, 2, "one");
    const Subject other = subject_of(second, 2, "other");
    const std::vector<const Subject*> subjects = {&one, &other};
    const auto json = compare(subjects, Pairing::paired);
    CHECK(json["rows"][0]["significant_2"] == "");
    CHECK(json["rows"][1]["significant_2"] == "?");
    CHECK(json["average"]["significant_2"] == "?");
    CHECK(json["delta_2_low"].is_null());
}

TEST_CASE("recordings of different models are not compared") {
    const Subject two = subject_of({{{1, 1}}}, 2, "two");
    const Subject four = subject_of({{{1, 1, 1, 1}}}, 2, "four");
    const std::vector<const Subject*> subjects = {&two, &four};
    CHECK_STARTS_WITH(
        error_of([&] { table_of(subjects, Pairing::paired); }),
        "four: has 4 experts, top-1, but two has 2 experts, top-1; compare recordings of one "
        "model");
}

TEST_CASE("of several configs the best is named, with its distance to the next") {
    const Subject base = subject_of({{{20, 0}}}, 2, "base");
    const Subject good = subject_of({{{11, 9}}}, 2, "good");
    const Subject bad = subject_of({{{15, 5}}}, 2, "bad");
    const std::vector<const Subject*> subjects = {&base, &bad, &good};
    const Table table = table_of(subjects, Pairing::paired);
    CHECK(last_verdict(table) == "Least imbalance: 3 with 0.100, before 2 with 0.500.");
}

// t0 20 us, 10 us for weights, 0.5 us for a row; layer 3: 20 + 20, then 20 + 10; layer 9 only
// before
TEST_CASE("a comparison on a GPU is in microseconds too, of the layers that all have") {
    GpuCost gpu;
    gpu.profile.name = "toy";
    gpu.cost = {20, 10, 0.5};
    ThreadPool threads(1);
    const Subject before =
        subject_of("a", 2, {3, 9}, {Counts(9, {2, 2, 0, 0}), Counts(9, {1, 0, 0, 0})});
    const Subject after = subject_of("b", 2, {3}, {Counts(9, {4, 0, 4, 0})});
    const std::vector<TimedSubject> timed = {time_subject(before, gpu, 1, threads),
                                             time_subject(after, gpu, 1, threads)};
    const MeasuredSubject first = measured(before);
    const MeasuredSubject second = measured(after);
    const std::vector<const MeasuredSubject*> subjects = {&first, &second};
    const Table table = comparison_table(subjects, Pairing::independent, timed);
    const nlohmann::json json = json_of(table);
    CHECK(json["moe_time_us_1"] == 40);
    CHECK(json["moe_time_us_2"] == 30);
    CHECK(json["moe_time_delta_2_low"] == -10);
    CHECK(json["moe_time_delta_2_high"] == -10);
    CHECK(last_verdict(table) ==
          "On toy the MoE layer takes 40.0 us -> 30.0 us an iteration (95 % interval of the "
          "difference: -10.0 us to -10.0 us); with 1.25 tokens and 4 tokens per rank, which is a "
          "difference of its own.");
}

}  // namespace eplb::test_comparison
