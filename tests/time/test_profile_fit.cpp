#include <cmath>
#include <vector>

#include "lib/time/measurement_table.h"
#include "lib/time/profile_fit.h"
#include "tests/test_support.h"

namespace eplb::test_profile_fit {

using eplb::test::error_of;

namespace {

// Uniform loads and skewed ones, with the times that the formula gives.
std::vector<Measurement> made_from(const LayerCost& cost, bool is_skewed) {
    std::vector<Measurement> measurements;
    for (const int experts : {1, 2, 4, 8, 16})
        for (double rows = 1; rows <= 2048; rows *= 2) {
            Measurement one;
            for (int expert = 0; expert < experts; ++expert)
                one.rows.push_back(is_skewed ? std::floor(rows * 2 * expert / experts) : rows);
            one.time_us = cost.launch_us;
            for (const double n : one.rows)
                if (n > 0)
                    one.time_us += std::max(cost.read_us, cost.row_us * n);
            if (one.time_us > 0)
                measurements.push_back(one);
        }
    return measurements;
}

}  // namespace

TEST_CASE("the numbers that measurements were made from are found again") {
    for (const bool is_skewed : {false, true})
        for (const LayerCost& cost : {LayerCost{20, 11.5, 0.07}, LayerCost{0, 8, 0.045},
                                      LayerCost{500, 3, 1}, LayerCost{1, 100, 0.3}}) {
            const CostFit fit = fit_cost(made_from(cost, is_skewed), "t.csv");
            CAPTURE(is_skewed, cost.launch_us, cost.read_us);
            CHECK(fit.cost.launch_us == Approx(cost.launch_us).margin(1e-4));
            CHECK(fit.cost.read_us == Approx(cost.read_us).epsilon(1e-5));
            CHECK(fit.cost.row_us == Approx(cost.row_us).epsilon(1e-5));
            CHECK(fit.rms < 1e-5);
        }
}

TEST_CASE("no other numbers come nearer to measurements with noise") {
    std::vector<Measurement> measurements = made_from({20, 11.5, 0.07}, true);
    std::uint32_t state = 7;
    for (Measurement& one : measurements) {
        state = state * 1664525U + 1013904223U;
        one.time_us *= 0.9 + 0.2 * (state >> 8) / 0x1p24;
    }
    const auto squares = [&](const LayerCost& cost) {
        double sum = 0;
        for (const Measurement& one : measurements) {
            double time = cost.launch_us;
            for (const double n : one.rows)
                time += n > 0 ? std::max(cost.read_us, cost.row_us * n) : 0;
            sum += std::pow(time / one.time_us - 1, 2);
        }
        return sum;
    };
    const CostFit fit = fit_cost(measurements, "t.csv");
    const double best = squares(fit.cost);
    CHECK(fit.rms == Approx(std::sqrt(best / static_cast<double>(measurements.size()))));
    for (const double launch : {0.8, 0.97, 1.0, 1.03, 1.2})
        for (const double read : {0.8, 0.97, 1.0, 1.03, 1.2})
            for (const double row : {0.8, 0.97, 1.0, 1.03, 1.2})
                CHECK(squares({fit.cost.launch_us * launch, fit.cost.read_us * read,
                               fit.cost.row_us * row}) >= best * (1 - 1e-9));
}

TEST_CASE("a fit says what to measure where a number is left open") {
    const auto kept = [](const auto& keeps) {
        std::vector<Measurement> some;
        for (const Measurement& one : made_from({20, 11.5, 0.07}, false))
            if (keeps(one))
                some.push_back(one);
        return some;
    };
    CHECK_STARTS_WITH(error_of([&] {
                          fit_cost(kept([](const Measurement& m) { return m.rows[0] < 100; }), "t");
                      }),
                      "t: no measurement tells what a row costs");
    CHECK_STARTS_WITH(error_of([&] {
                          fit_cost(kept([](const Measurement& m) { return m.rows[0] > 200; }), "t");
                      }),
                      "t: no measurement tells what reading an expert's weights takes");
    std::vector<Measurement> falling = made_from({20, 11.5, 0.07}, false);
    for (Measurement& one : falling)
        one.time_us = 1000 / one.time_us;
    CHECK_STARTS_WITH(error_of([&] { fit_cost(falling, "t"); }),
                      "t: times do not grow with experts or their rows");
    CHECK_STARTS_WITH(error_of([] { fit_cost({}, "t"); }),
                      "t: has 0 measurements; a fit needs 4 or more");
    CHECK_STARTS_WITH(error_of([] {
                          fit_cost(std::vector<Measurement>(5, {{0, 0}, 20, 2}), "t");
                      }),
                      "t: no expert has any rows");
    CHECK_STARTS_WITH(error_of([] {
                          fit_cost(std::vector<Measurement>(5, {{3, 300}, 20, 2}), "t");
                      }),
                      "t: no measurement tells");
}

TEST_CASE("a profile's rates give the cost that was fitted") {
    const CostFit fit = fit_cost(made_from({20, 11.5, 0.07}, false), "t");
    const ExpertWork work = expert_work(7168, 2048, 1);
    const TimeProfile profile = profile_of(fit, work, "t");
    const LayerCost cost = layer_cost(profile, work);
    CHECK(cost.launch_us == Approx(20).epsilon(1e-4));
    CHECK(cost.read_us == Approx(11.5));
    CHECK(cost.row_us == Approx(0.07));
    CHECK_STARTS_WITH(error_of([&] { profile_of(fit, {1, 1}, "t"); }), "t: comes to 8.7e+04 bytes");
}

TEST_CASE("tables of measurements, in both forms") {
    const std::vector<Measurement> listed =
        parse_measurements("time_us,expert_rows\r\n61.5,16 3  0 240\r\n2e1,0\n", "t.csv");
    REQUIRE(listed.size() == 2);
    CHECK(listed[0].rows == std::vector<double>{16, 3, 0, 240});
    CHECK(listed[0].time_us == 61.5);
    CHECK(listed[0].line == 2);
    CHECK(listed[1].rows == std::vector<double>{0});
    const std::vector<Measurement> uniform =
        parse_measurements("rows,experts,time_us\n4096,8,124.192", "t.csv");
    REQUIRE(uniform.size() == 1);
    CHECK(uniform[0].rows == std::vector<double>(8, 512));
}

TEST_CASE("faults of a table name their line") {
    const auto fault = [](const std::string& text) {
        return error_of([&] { parse_measurements(text, "t.csv"); });
    };
    const std::string columns =
        "t.csv: the first line must name the columns, expert_rows,time_us or rows,experts,time_us; "
        "it is ";
    CHECK(fault("") == columns + "\"\"");
    CHECK(fault("rows,time_us\n1,2\n") == columns + "\"rows,time_us\"");
    CHECK(fault("rows,experts,time_us,time_us\n") == columns + "\"rows,experts,time_us,time_us\"");
    const std::string head = "rows,experts,time_us\n8,8,20\n";
    CHECK(fault(head + "8,8\n") == "t.csv: line 3: has 2 cells for 3 columns");
    CHECK(fault(head + "\n") == "t.csv: line 3: has 1 cells for 3 columns");
    CHECK(fault(head + "8,8,nan\n") ==
          "t.csv: line 3: time_us: \"nan\" is not a number from 0 to 1e15");
    CHECK(fault(head + "8,8,-1\n") ==
          "t.csv: line 3: time_us: \"-1\" is not a number from 0 to 1e15");
    CHECK(fault(head + "8,8,0\n") ==
          "t.csv: line 3: time_us is 0; a measured layer takes some time");
    CHECK_STARTS_WITH(fault(head + "inf,8,2\n"), "t.csv: line 3: rows: \"inf\"");
    CHECK_STARTS_WITH(fault(head + "8,0,2\n"), "t.csv: line 3: experts must be a whole number");
    CHECK_STARTS_WITH(fault(head + "8,1.5,2\n"), "t.csv: line 3: experts must be a whole number");
    CHECK_STARTS_WITH(fault(head + "8,1e9,2\n"), "t.csv: line 3: experts must be a whole number");
    CHECK(fault("expert_rows,time_us\n ,2\n") == "t.csv: line 2: expert_rows lists no expert");
    CHECK_STARTS_WITH(fault("expert_rows,time_us\n1 x,2\n"), "t.csv: line 2: expert_rows: \"x\"");
}

}  // namespace eplb::test_profile_fit
