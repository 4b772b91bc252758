#include <algorithm>
#include <cmath>
#include <vector>

#include "lib/report/views/time_table.h"
#include "tests/report/subjects.h"

namespace eplb::test_time_table {

using test::Counts;
using test::number;

namespace {

GpuCost toy_gpu() {
    GpuCost gpu;
    gpu.profile.name = "toy";
    gpu.cost = {20, 10, 0.5};
    return gpu;
}

const GpuCost kGpu = toy_gpu();

Table table_of(const Subject& subject, int top_k = 0) {
    ThreadPool threads(2);
    return time_table(time_subject(subject, kGpu, top_k, threads));
}

double context_number(const Table& table, const std::string& key) {
    for (const auto& [name, value] : table.context)
        if (name == key)
            return std::get<double>(value);
    FAIL("no " + key);
    return 0;
}

// Of one layer and iteration: the slowest rank's, by the formula.
double naive_us(const std::vector<std::int64_t>& counts, int ep_size) {
    const int per_rank = static_cast<int>(counts.size()) / ep_size;
    double slowest = 0;
    for (int rank = 0; rank < ep_size; ++rank) {
        double time = 20;
        for (int expert = rank * per_rank; expert < (rank + 1) * per_rank; ++expert)
            if (counts[expert] > 0)
                time += std::max(10.0, 0.5 * static_cast<double>(counts[expert]));
        slowest = std::max(slowest, time);
    }
    return slowest;
}

}  // namespace

TEST_CASE("each layer's time, and all layers' together, against the formula") {
    std::uint32_t state = 5;
    std::vector<Counts> layers(3);
    for (Counts& iterations : layers)
        for (int i = 0; i < 7; ++i) {
            iterations.emplace_back();
            for (int expert = 0; expert < 8; ++expert) {
                state = state * 1664525U + 1013904223U;
                iterations.back().push_back((state >> 8) % 4 == 0 ? 0 : (state >> 8) % 70);
            }
        }
    const Subject subject = test::subject_of("a", 4, {3, 4, 9}, layers);
    const Table table = table_of(subject);
    std::vector<double> totals(7);
    double tokens = 0;
    for (std::size_t layer = 0; layer < 3; ++layer) {
        std::vector<double> times;
        for (std::size_t i = 0; i < 7; ++i) {
            times.push_back(naive_us(layers[layer][i], 4));
            totals[i] += times.back();
            for (const std::int64_t count : layers[layer][i])
                tokens += static_cast<double>(count) / 3 / 7 / 4;
        }
        double sum = 0;
        for (const double time : times)
            sum += time;
        std::sort(times.begin(), times.end());
        CHECK(number(table, layer, "time_us") == Approx(sum / 7));
        CHECK(number(table, layer, "time_us_p99") ==
              Approx(times[5] + 0.94 * (times[6] - times[5])));
    }
    double sum = 0;
    for (const double total : totals)
        sum += total;
    CHECK(context_number(table, "moe_time_us") == Approx(sum / 7));
    CHECK(context_number(table, "tokens_per_rank") == Approx(tokens));
    CHECK(context_number(table, "tokens_per_second_per_gpu") == Approx(tokens / (sum / 7) * 1e6));
}

TEST_CASE("a table of time says what balance is worth, which may be nothing") {
    const Table few = table_of(test::subject_of("a", 2, {3}, {{{9, 9, 1, 1}}}));
    CHECK(test::last_verdict(few) ==
          "The MoE layer takes 40.0 us an iteration on toy (p99 40.0 us): 10 tokens per rank, at "
          "most 250000 tokens per second and GPU. Spread evenly over all slots, the tokens would "
          "take 40.0 us, as long; slowest layer 3.");
    const Table many =
        table_of(test::subject_of("a", 2, {3, 4}, {{{0, 400, 0, 0}}, {{0, 0, 0, 1}}}));
    CHECK(number(many, 0, "time_us") == 220);
    CHECK(number(many, 0, "balanced_time_us") == 120);
    CHECK(number(many, 0, "weights_share") == 0);
    CHECK(number(many, 1, "time_us") == 30);
    CHECK(number(many, 1, "balanced_time_us") == 25);  // in one of four iterations a slot is read
    CHECK(number(many, 1, "weights_share") == Approx(1.0 / 3));
    CHECK(number(many, 1, "active_experts") == 1);
    CHECK(test::has_note(many, "the tokens would take 145 us, 42 % less; slowest layer 3."));
}

TEST_CASE("without tokens, without top_k") {
    Subject subject = test::subject_of("a", 2, {3, 4}, {{{0, 0}, {0, 0}}, {{1, 0}, {0, 0}}});
    const Table table = table_of(subject);
    CHECK(std::isnan(number(table, 0, "time_us")));
    CHECK(number(table, 1, "time_us") == 30);
    CHECK(number(table, 2, "time_us") == 30);  // the average
    CHECK(context_number(table, "moe_time_us") == 30);
    subject.top_k = 0;
    CHECK(std::isnan(context_number(table_of(subject), "tokens_per_rank")));
    CHECK(context_number(table_of(subject, 1), "tokens_per_rank") == 0.5);
    const Subject empty = test::subject_of("a", 1, {3}, {{{0}}});
    CHECK(std::isnan(context_number(table_of(empty), "moe_time_us")));
    CHECK_FALSE(test::has_note(table_of(empty), "an iteration on toy"));
}

TEST_CASE(
    "replicas that share few tokens cost no more than the tokens, more tokens their weights") {
    const auto time = [](std::int64_t tokens, int num_replicas) {
        Placement placement{num_replicas, 1, std::vector<int>(num_replicas, 0)};
        const Subject subject =
            projected_subject(test::statistics_of({3}, {{{tokens}}}), "a", {placement});
        ThreadPool threads(1);
        return time_subject(subject, kGpu, 0, threads).summaries.front();
    };
    CHECK(time(1, 4).mean_rank_time_us == 20 + 10.0 / 4);
    CHECK(time(8, 4).time_us == 30);
    CHECK(time(400, 4).time_us == 20 + 50);
}

// Every choice of 4 of the 9 rows, equally likely.
TEST_CASE("another batch takes what all choices of its tokens take on average") {
    const std::vector<std::int64_t> counts = {1, 2, 0, 3, 2, 1};
    std::vector<int> expert_of;
    for (int expert = 0; expert < 6; ++expert)
        expert_of.insert(expert_of.end(), counts[expert], expert);
    double exact = 0;
    int num_choices = 0;
    for (unsigned chosen = 0; chosen < 1U << 9; ++chosen) {
        if (__builtin_popcount(chosen) != 4)
            continue;
        std::vector<std::int64_t> taken(6);
        for (int row = 0; row < 9; ++row)
            taken[expert_of[row]] += chosen >> row & 1;
        exact += naive_us(taken, 2);
        ++num_choices;
    }
    exact /= num_choices;
    ThreadPool threads(1);
    ThinningRequest request;
    request.tokens_per_iteration = 2;
    request.top_k = 2;
    request.num_draws = 20000;
    const Subject recorded = test::subject_of("a", 2, {3}, {{counts, counts}});
    const Thinned thinned =
        thin_counts(test::statistics_of({3}, {{counts, counts}}), request, "a", threads);
    const Subject drawn = recorded_subject(thinned.statistics, "a", 2);
    const TimedBatch batch = {&recorded, &thinned, 1};
    const Table table = time_table(time_subject(drawn, kGpu, 0, threads), &batch);
    CHECK(context_number(table, "moe_time_us") == Approx(exact).epsilon(0.002));
    CHECK(context_number(table, "moe_time_us_draw_low") < exact);
    CHECK(context_number(table, "moe_time_us_draw_high") > exact);
    CHECK(context_number(table, "tokens_per_rank") == 1);
    CHECK(test::json_of(table)["iter_stop"] == 102);  // of the recording
    CHECK(
        test::has_note(table, "1 token per rank, drawn from counts, 20000 draws of 2 iterations"));
}

TEST_CASE("times are said in three digits") {
    CHECK(time_text(8.994) == "8.99 us");
    CHECK(time_text(113.2) == "113 us");
    CHECK(time_text(6550.7) == "6.55 ms");
    CHECK(time_text(kGpu.cost.knee()) == "20.0 us");
}

}  // namespace eplb::test_time_table
