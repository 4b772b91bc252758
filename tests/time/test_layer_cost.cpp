#include <cmath>
#include <numeric>
#include <vector>

#include "lib/placement/route/layer_time.h"
#include "lib/time/layer_cost.h"
#include "tests/test_support.h"

namespace eplb::test_layer_cost {

namespace {

const LayerCost kCost = {20, 10, 0.5};  // knee at 20 rows

// The formula as it stands in layer_cost.h's first comment, for whole rows.
double naive_us(const LayerCost& cost, const std::vector<double>& rows) {
    double sum = cost.launch_us;
    for (const double n : rows)
        if (n > 0)
            sum += n * cost.row_us > cost.read_us ? n * cost.row_us : cost.read_us;
    return sum;
}

std::uint32_t next_random(std::uint32_t& state) {
    state = state * 1664525U + 1013904223U;
    return state >> 8;
}

double relative_difference(double a, double b) {
    return std::abs(a - b) / b;
}

}  // namespace

TEST_CASE("an expert's work follows from its shape and the profile's rates") {
    // DeepSeek-V3: 44.04 MB of FP8 weights and 88.1 MFLOP a row
    const ExpertWork work = expert_work(7168, 2048, 1);
    CHECK(work.bytes == 44040192);
    CHECK(work.flop_per_row == 88080384);
    TimeProfile profile;
    profile.t0_us = 7;
    profile.bytes_per_second = 2e12;
    profile.flop_per_second = 1e15;
    const LayerCost cost = layer_cost(profile, work);
    CHECK(cost.launch_us == 7);
    CHECK(cost.read_us == Approx(22.020096));
    CHECK(cost.row_us == Approx(0.088080384));
    CHECK(cost.knee() == Approx(250));
}

TEST_CASE("a rank takes the launch and, slot by slot, the longer of weights and rows") {
    std::uint32_t state = 1;
    for (int test = 0; test < 200; ++test) {
        std::vector<double> rows(1 + next_random(state) % 9);
        double num_active = 0;
        double reading_us = 0;
        for (double& n : rows) {
            n = next_random(state) % 3 == 0 ? 0 : next_random(state) % 41;
            num_active += n > 0;
            if (n > 0 && n < 20)
                reading_us += 10;
        }
        const RankTime time = rank_time(kCost, rows);
        CHECK(time.time_us == naive_us(kCost, rows));
        CHECK(time.active_slots == num_active);
        CHECK(time.reading_us == reading_us);
    }
}

TEST_CASE("a rank without rows takes its launch") {
    CHECK(rank_time(kCost, std::vector<double>{0, 0}).time_us == 20);
    CHECK(rank_time(kCost, {}).time_us == 20);
    CHECK(rank_time(kCost, {}).active_slots == 0);
}

TEST_CASE("counts beyond 2^31") {
    CHECK(rank_time(kCost, std::vector<double>{0x1p40}).time_us == 20 + 0.5 * 0x1p40);
}

// n rows dealt out to r replicas in turn, from every replica on once: what a replica takes on
// average
TEST_CASE("a share of rows costs what dealing them out in turn does on average") {
    for (const LayerCost& cost : {kCost, LayerCost{0, 1, 3}})
        for (int n = 0; n <= 60; ++n)
            for (int r = 1; r <= 8; ++r) {
                double sum = 0;
                for (int turn = 0; turn < r; ++turn)
                    sum += naive_us(cost, {static_cast<double>(n / r + (turn < n % r))}) -
                           cost.launch_us;
                const double exact = sum / r;
                const double shared = cost.slot_us(static_cast<double>(n) / r);
                CAPTURE(n, r);
                const bool is_beside_knee = n / r < cost.knee() && cost.knee() < n / r + 1;
                if (is_beside_knee)
                    CHECK(std::abs(shared - exact) < cost.row_us / 4 + 1e-9);
                else
                    CHECK(shared == Approx(exact));
            }
}

TEST_CASE("a layer waits for its slowest rank in each iteration") {
    // 2 ranks of 2 slots; iteration 1 has no tokens
    const LayerLoad load(3, 4, {40, 1, 30, 30, 0, 0, 0, 0, 5, 0, 0, 0});
    const LayerTimes times = layer_times(load, 2, kCost);
    CHECK(times.slowest_us[0] == 20 + 20 + 10);  // both take 50, though rank 1 has more tokens
    CHECK(times.active_slots[0] == 2);
    CHECK(times.weights_share[0] == Approx(10.0 / 50));  // of rank 0, the lowest
    CHECK(times.mean_us[0] == 50);
    CHECK(times.balanced_us[0] == Approx(20 + 2 * 0.5 * 101 / 4));
    CHECK(std::isnan(times.slowest_us[1]));
    CHECK(times.slowest_us[2] == 30);
    CHECK(times.mean_us[2] == 25);
    CHECK(times.balanced_us[2] == 20 + 2 * 10);  // 5 rows on 4 slots: all are read

    const LayerTimeSummary summary = summarize(times);
    CHECK(summary.num_iterations == 2);
    CHECK(summary.time_us == 40);
    CHECK(summary.time_us_p99 == Approx(30 + 0.99 * 20));
    CHECK(summary.mean_rank_time_us == 37.5);
    CHECK(summary.active_experts == 1.5);
}

TEST_CASE("skew costs nothing below the knee, and helps where it leaves experts idle") {
    const auto time = [](std::vector<double> slots) {
        const int num_slots = static_cast<int>(slots.size());
        return summarize(layer_times(LayerLoad(1, num_slots, std::move(slots)), 2, kCost));
    };
    CHECK(time({19, 19, 1, 1}).time_us == time({10, 10, 10, 10}).time_us);
    CHECK(time({20, 0, 20, 0}).time_us < time({10, 10, 10, 10}).time_us);
    CHECK(time({1, 0, 0, 0}).time_us == 30);      // more ranks than active experts
    CHECK(time({1000, 0, 0, 0}).time_us == 520);  // one expert takes all
}

TEST_CASE("one rank, and ranks that do not divide the slots") {
    const LayerLoad load(1, 3, {1, 2, 3});
    const LayerTimes times = layer_times(load, 1, kCost);
    CHECK(times.slowest_us[0] == 50);
    CHECK(times.slowest_us[0] == times.mean_us[0]);
    CHECK(test::error_of([&] { layer_times(load, 2, kCost); }) ==
          "ep_size 2 does not divide the 3 slots");
}

TEST_CASE("layers run one after another, and take no time where they have no tokens") {
    const LayerTimes first = layer_times(LayerLoad(3, 1, {1, 0, 0}), 1, kCost);
    const LayerTimes second = layer_times(LayerLoad(3, 1, {40, 1, 0}), 1, kCost);
    const std::vector<double> sums = summed_times({first, second});
    CHECK(sums[0] == 30 + 40);
    CHECK(sums[1] == 30);
    CHECK(std::isnan(sums[2]));
    CHECK(summed_times({}).empty());
    CHECK(summarize(layer_times(LayerLoad(0, 1, {}), 1, kCost)).time_us == 0);
}

TEST_CASE("built-in profiles come to the reading and row times of the published fits") {
    // t0, w and c of DeepSeek-V3's experts, fitted with scipy.optimize.least_squares to the same
    // rows with the same errors
    struct Fit {
        const char* name;
        double t0_us, read_us, row_us;
    };
    const std::vector<Fit> fits = {{"h100", 21.6784195, 16.0965411, 0.0772346},
                                   {"h200", 20.58832742, 11.50742021, 0.07089348},
                                   {"b200", 19.74181707, 7.97056028, 0.0452478},
                                   {"gb200", 21.15285951, 7.52906089, 0.04122189}};
    REQUIRE(built_in_profiles().size() == fits.size());
    const ExpertWork work = expert_work(7168, 2048, 1 + 4.0 / (128 * 128));
    for (std::size_t i = 0; i < fits.size(); ++i) {
        const TimeProfile& profile = built_in_profiles()[i];
        const LayerCost cost = layer_cost(profile, work);
        CHECK(profile.name == fits[i].name);
        CHECK(relative_difference(cost.launch_us, fits[i].t0_us) < 2e-3);
        CHECK(relative_difference(cost.read_us, fits[i].read_us) < 2e-4);
        CHECK(relative_difference(cost.row_us, fits[i].row_us) < 2e-4);
    }
}

}  // namespace eplb::test_layer_cost
