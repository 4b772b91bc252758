#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "lib/placement/plan/layer_samples.h"
#include "lib/placement/search/bound.h"
#include "tests/catch.h"
#include "tests/placement/problems.h"

namespace eplb::test_layer_samples {

using eplb::Deployment;
using eplb::ExpertStatistics;
using eplb::LayerSamples;
using eplb::make_problem;
using eplb::mixed_counts;
using eplb::PlacementProblem;
using eplb::SampleRange;
using eplb::test::Random;
using eplb::test::sum_of;

namespace {

using Matrix = std::vector<std::vector<double>>;

ExpertStatistics make_statistics(int num_iterations, int num_sources, int num_experts) {
    ExpertStatistics statistics;
    statistics.num_experts = num_experts;
    statistics.top_k = 2;
    statistics.ep_size = statistics.num_sources = num_sources;
    statistics.layers = {0, 1};
    statistics.num_iterations = num_iterations;
    statistics.allocate();
    return statistics;
}

// Counts of many sizes; every fifth iteration has none.
ExpertStatistics random_statistics(Random& random,
                                   int num_iterations,
                                   int num_sources,
                                   int num_experts) {
    ExpertStatistics statistics = make_statistics(num_iterations, num_sources, num_experts);
    for (int i = 0; i < num_iterations; ++i)
        for (int source = 0; source < num_sources && i % 5 != 3; ++source)
            for (std::int64_t& count : statistics.row(i, 1, source))
                count = random.between(0, 30 * (1 + i % 3));
    return statistics;
}

Deployment deployment_of(int ep_size, int num_slots) {
    Deployment deployment;
    deployment.ep_size = ep_size;
    deployment.num_slots = num_slots;
    return deployment;
}

// [iterations with tokens][num_experts], in mean rank loads
Matrix normalized(const SampleRange& range, int ep_size) {
    Matrix rows;
    const ExpertStatistics& statistics = range.samples->statistics();
    for (int i = range.begin; i < range.end; ++i) {
        std::vector<double> row(statistics.num_experts);
        for (int source = 0; source < statistics.num_sources; ++source)
            for (std::size_t expert = 0; expert < row.size(); ++expert)
                row[expert] +=
                    static_cast<double>(statistics.row(i, range.samples->layer(), source)[expert]);
        const double total = sum_of(row);
        if (total == 0)
            continue;
        for (double& value : row)
            value *= ep_size / total;
        rows.push_back(std::move(row));
    }
    return rows;
}

Matrix zeros(std::size_t size) {
    return Matrix(size, std::vector<double>(size));
}

// divisor n - 1
Matrix sample_covariance(const Matrix& rows) {
    const std::size_t num_experts = rows.front().size();
    const auto n = static_cast<double>(rows.size());
    Matrix covariance = zeros(num_experts);
    for (std::size_t a = 0; a < num_experts; ++a)
        for (std::size_t b = 0; b < num_experts; ++b) {
            double sum_a = 0;
            double sum_b = 0;
            for (const auto& row : rows) {
                sum_a += row[a] / n;
                sum_b += row[b] / n;
            }
            for (const auto& row : rows)
                covariance[a][b] += (row[a] - sum_a) * (row[b] - sum_b) / (n - 1);
        }
    return covariance;
}

// Of each iteration: the covariance of the source ranks' counts around what the iteration's shares
// make of their totals, times the number of source ranks; in mean rank loads, averaged.
Matrix source_covariance(const SampleRange& range, int ep_size) {
    const ExpertStatistics& statistics = range.samples->statistics();
    const auto num_experts = static_cast<std::size_t>(statistics.num_experts);
    const int num_sources = statistics.num_sources;
    Matrix covariance = zeros(num_experts);
    int num_iterations = 0;
    for (int i = range.begin; i < range.end; ++i) {
        std::vector<double> sums(num_experts);
        Matrix counts;
        for (int source = 0; source < num_sources; ++source) {
            const auto row = statistics.row(i, range.samples->layer(), source);
            counts.emplace_back(row.begin(), row.end());
            for (std::size_t expert = 0; expert < num_experts; ++expert)
                sums[expert] += counts.back()[expert];
        }
        const double total = sum_of(sums);
        if (total == 0)
            continue;
        ++num_iterations;
        for (const std::vector<double>& row : counts)
            for (std::size_t a = 0; a < num_experts; ++a)
                for (std::size_t b = 0; b < num_experts; ++b) {
                    const double of_rank = sum_of(row);
                    covariance[a][b] += (row[a] - of_rank * sums[a] / total) *
                                        (row[b] - of_rank * sums[b] / total) / (num_sources - 1) *
                                        num_sources * ep_size * ep_size / total / total;
                }
    }
    for (auto& row : covariance)
        for (double& value : row)
            value /= num_iterations;
    return covariance;
}

void check_equal(const PlacementProblem& problem, const Matrix& expected) {
    REQUIRE(problem.covariance != nullptr);
    for (std::size_t a = 0; a < expected.size(); ++a)
        for (std::size_t b = 0; b < expected.size(); ++b)
            REQUIRE(problem.covariance->at(a, b) ==
                    Approx(expected[a][b]).epsilon(1e-4).margin(1e-6));
}

// Adds weight * matrix.
void add(Matrix& into, double weight, const Matrix& matrix) {
    for (std::size_t a = 0; a < into.size(); ++a)
        for (std::size_t b = 0; b < into.size(); ++b)
            into[a][b] += weight * matrix[a][b];
}

// [num_experts]: the summed counts of a range, in mean rank loads
std::vector<double> load_of(const SampleRange& range, int ep_size) {
    const ExpertStatistics& statistics = range.samples->statistics();
    std::vector<double> load(statistics.num_experts);
    for (int i = range.begin; i < range.end; ++i)
        for (int source = 0; source < statistics.num_sources; ++source)
            for (std::size_t expert = 0; expert < load.size(); ++expert)
                load[expert] +=
                    static_cast<double>(statistics.row(i, range.samples->layer(), source)[expert]);
    const double total = sum_of(load);
    for (double& value : load)
        value *= ep_size / total;
    return load;
}

}  // namespace

TEST_CASE("samples are the counts of a layer summed over source ranks") {
    Random random(1);
    const ExpertStatistics statistics = random_statistics(random, 7, 3, 5);
    const LayerSamples samples(statistics, 1);
    for (int i = 0; i < 7; ++i) {
        double total = 0;
        for (std::size_t expert = 0; expert < 5; ++expert) {
            std::int64_t sum = 0;
            for (int source = 0; source < 3; ++source)
                sum += statistics.row(i, 1, source)[expert];
            CHECK(samples.iteration(i)[expert] == sum);
            total += static_cast<double>(sum);
        }
        CHECK(samples.total(i) == total);
    }
    CHECK(LayerSamples(statistics, 0).total(0) == 0);
}

TEST_CASE("a problem takes over what the deployment is") {
    Random random(2);
    const ExpertStatistics statistics = random_statistics(random, 6, 1, 10);
    const LayerSamples samples(statistics, 1);
    Deployment deployment = deployment_of(4, 24);
    deployment.min_replicas = 2;
    deployment.rank_speed = {1, 2, 3, 2};
    const SampleRange range = {&samples, 0, 6, 1};
    const PlacementProblem problem = make_problem({&range, 1}, deployment, Objective::aggregated);
    CHECK(problem.num_experts == 10);
    CHECK(problem.ep_size == 4);
    CHECK(problem.slots_per_rank == 6);
    CHECK(problem.min_replicas == 2);
    CHECK(problem.rank_speed == std::vector<double>{0.5, 1, 1.5, 1});
    CHECK(problem.top_k == 2);
    CHECK(problem.covariance == nullptr);
}

TEST_CASE("loads are shares of the counts, workloads by weight, those without tokens left out") {
    Random random(3);
    const ExpertStatistics first = random_statistics(random, 6, 2, 8);
    const ExpertStatistics second = random_statistics(random, 9, 1, 8);
    const ExpertStatistics empty = make_statistics(4, 1, 8);
    const LayerSamples a(first, 1);
    const LayerSamples b(second, 1);
    const LayerSamples none(empty, 1);
    const std::vector<SampleRange> ranges = {{&a, 1, 5, 2}, {&none, 0, 4, 7}, {&b, 0, 9, 6}};
    const PlacementProblem problem = make_problem(ranges, deployment_of(4, 12), Objective::risk);
    REQUIRE(problem.scenario_weight == std::vector<double>{0.25, 0.75});
    const std::vector<double> load_a = load_of(ranges[0], 4);
    const std::vector<double> load_b = load_of(ranges[2], 4);
    for (std::size_t expert = 0; expert < 8; ++expert) {
        CHECK(problem.scenario(0)[expert] == Approx(load_a[expert]));
        CHECK(problem.scenario(1)[expert] == Approx(load_b[expert]));
        CHECK(problem.load[expert] == Approx(0.25 * load_a[expert] + 0.75 * load_b[expert]));
    }
    CHECK(sum_of(problem.load) == Approx(4));
}

TEST_CASE("where no range has tokens all loads are 0 and there are no workloads") {
    const ExpertStatistics empty = make_statistics(4, 3, 8);
    const LayerSamples none(empty, 1);
    const SampleRange range = {&none, 0, 4, 1};
    const PlacementProblem problem =
        make_problem({&range, 1}, deployment_of(4, 12), Objective::risk);
    CHECK(problem.load == std::vector<double>(8, 0.0));
    CHECK(problem.num_scenarios() == 0);
    CHECK(problem.covariance == nullptr);
}

TEST_CASE(
    "with several source ranks the covariance blends iterations with sources by T / (T + 40)") {
    Random random(4);
    for (const int num_iterations : {3, 10, 41}) {
        const ExpertStatistics statistics = random_statistics(random, num_iterations, 4, 9);
        const LayerSamples samples(statistics, 1);
        const SampleRange range = {&samples, 0, num_iterations, 1};
        const Matrix rows = normalized(range, 3);
        const auto num_used = static_cast<double>(rows.size());
        const double share = num_used / (num_used + 40);
        Matrix expected = zeros(9);
        add(expected, share, sample_covariance(rows));
        add(expected, 1 - share, source_covariance(range, 3));
        check_equal(make_problem({&range, 1}, deployment_of(3, 12), Objective::risk), expected);
    }
}

TEST_CASE("with one source rank the diagonal is drawn towards binomial sampling, scaled to fit") {
    Random random(5);
    for (const int num_iterations : {2, 12, 37}) {
        const ExpertStatistics statistics = random_statistics(random, num_iterations, 1, 9);
        const LayerSamples samples(statistics, 1);
        const SampleRange range = {&samples, 0, num_iterations, 1};
        const Matrix rows = normalized(range, 3);
        const Matrix covariance = sample_covariance(rows);
        // c (1 - top_k c / ep_size), times a factor that makes the mean ratio 1
        const std::vector<double> load = load_of(range, 3);
        std::vector<double> model;
        double ratio = 0;
        for (std::size_t expert = 0; expert < 9; ++expert) {
            model.push_back(load[expert] * std::max(1 - 2 * load[expert] / 3, 0.03));
            ratio += covariance[expert][expert] / model.back() / 9;
        }
        Matrix expected = zeros(9);
        add(expected, 0.8, covariance);
        for (std::size_t expert = 0; expert < 9; ++expert)
            expected[expert][expert] += 0.2 * ratio * model[expert];
        check_equal(make_problem({&range, 1}, deployment_of(3, 12), Objective::risk), expected);
    }
}

TEST_CASE("covariances of workloads are pooled by weight, over those that have one") {
    Random random(6);
    const ExpertStatistics first = random_statistics(random, 8, 3, 7);
    const ExpertStatistics second = random_statistics(random, 14, 2, 7);
    const LayerSamples a(first, 1);
    const LayerSamples b(second, 1);
    const Deployment deployment = deployment_of(3, 9);
    const SampleRange all_a = {&a, 0, 8, 3};
    const SampleRange all_b = {&b, 0, 14, 1};
    const SampleRange one_of_b = {&b, 0, 1, 1};
    const auto of = [&](const std::vector<SampleRange>& ranges) {
        const auto covariance = make_problem(ranges, deployment, Objective::risk).covariance;
        Matrix matrix;
        for (std::size_t expert = 0; expert < 7; ++expert) {
            const auto row = covariance->row(expert);
            matrix.emplace_back(row.begin(), row.end());
        }
        return matrix;
    };
    Matrix expected = zeros(7);
    add(expected, 0.75, of({all_a}));
    add(expected, 0.25, of({all_b}));
    check_equal(make_problem(std::vector{all_a, all_b}, deployment, Objective::risk), expected);
    // one iteration of one source rank says nothing of how loads vary, not that they do not
    const ExpertStatistics third = random_statistics(random, 5, 1, 7);
    const LayerSamples c(third, 1);
    const SampleRange one_of_c = {&c, 2, 3, 1};
    check_equal(make_problem(std::vector{all_a, one_of_c}, deployment, Objective::risk),
                of({all_a}));
    CHECK(make_problem(std::vector{one_of_c}, deployment, Objective::risk).covariance == nullptr);
    // several source ranks do
    check_equal(make_problem(std::vector{one_of_b}, deployment, Objective::risk),
                source_covariance(one_of_b, 3));
}

TEST_CASE("samples are the iterations, drawn to their mean, with what is left around them") {
    Random random(10);
    const ExpertStatistics first = random_statistics(random, 12, 3, 6);
    const ExpertStatistics second = random_statistics(random, 5, 3, 6);
    const LayerSamples a(first, 1);
    const LayerSamples b(second, 1);
    const std::vector<SampleRange> ranges = {{&a, 0, 12, 3}, {&b, 0, 5, 1}};
    const PlacementProblem problem = make_problem(ranges, deployment_of(3, 9), Objective::samples);
    Matrix covariance = zeros(6);
    double loads_per_id = 0;
    int scenario = 0;
    for (const SampleRange& range : ranges) {
        const double part = range.weight / 4;
        const Matrix rows = normalized(range, 3);
        const auto count = static_cast<double>(rows.size());
        const double share = count / (count + 40);
        const std::vector<double> load = load_of(range, 3);
        const Matrix sample = sample_covariance(rows);
        // most of the iterations' covariance is that of the scenarios, around the range's load
        Matrix seen = zeros(6);
        for (std::size_t i = 0; i < rows.size(); ++i, ++scenario) {
            CHECK(problem.scenario_weight[scenario] == Approx(part / count));
            for (std::size_t x = 0; x < 6; ++x)
                for (std::size_t y = 0; y < 6; ++y)
                    seen[x][y] += (problem.scenario(scenario)[x] - load[x]) *
                                  (problem.scenario(scenario)[y] - load[y]) / count;
        }
        for (std::size_t x = 0; x < 6; ++x)
            for (std::size_t y = 0; y < 6; ++y)
                CHECK(seen[x][y] == Approx(0.85 * share * sample[x][y]).margin(1e-9));
        add(covariance, part * (1 - 0.85) * share, sample);
        add(covariance, part * 2 * (1 - share), source_covariance(range, 3));
        // less the scatter that these scenarios stand for: a Poisson count's variance is its mean
        double ids = 0;  // per rank and iteration
        for (int i = range.begin; i < range.end; ++i)
            ids += range.samples->total(i) / count / 3;
        for (std::size_t x = 0; x < 6; ++x)
            covariance[x][x] -= part * share * load[x] / ids;
        loads_per_id += part / ids;
    }
    for (std::size_t x = 0; x < 6; ++x)
        covariance[x][x] = std::max(0.0, covariance[x][x]);
    CHECK(problem.ids_per_load == Approx(1 / loads_per_id));
    CHECK(problem.num_scenarios() == scenario);
    check_equal(problem, covariance);
}

TEST_CASE("iterations of few experts are thinned to no more than 1024, evenly") {
    Random random(7);
    ExpertStatistics statistics = make_statistics(3000, 1, 4);
    for (std::int64_t& count : statistics.counts)
        count = random.between(50, 150);
    const LayerSamples samples(statistics, 1);
    const SampleRange range = {&samples, 0, 3000, 1};
    const Matrix all = normalized(range, 2);
    Matrix thinned;
    for (std::size_t i = 0; i < all.size(); i += 3)
        thinned.push_back(all[i]);
    const Matrix covariance = sample_covariance(thinned);
    const PlacementProblem problem =
        make_problem({&range, 1}, deployment_of(2, 4), Objective::risk);
    CHECK(problem.covariance->at(0, 1) == Approx(0.8 * covariance[0][1]));
    CHECK(problem.covariance->at(2, 3) == Approx(0.8 * covariance[2][3]));
}

TEST_CASE("of independent multinomial source ranks the covariance is that of the multinomial") {
    // N ids in all, shares p: the covariance of counts is N (diag(p) - p p'), and a mean rank load
    // is N / ep_size ids
    const std::vector<double> shares = {0.4, 0.3, 0.2, 0.06, 0.04};
    constexpr int kNumSources = 4;
    constexpr int kIdsPerSource = 50;
    constexpr int kEpSize = 2;
    Random random(8);
    Matrix mean = zeros(shares.size());
    constexpr int kNumTrials = 400;
    for (int trial = 0; trial < kNumTrials; ++trial) {
        ExpertStatistics statistics = make_statistics(10, kNumSources, 5);
        for (int i = 0; i < 10; ++i)
            for (int source = 0; source < kNumSources; ++source)
                for (int id = 0; id < kIdsPerSource; ++id) {
                    double left = random.uniform();
                    std::size_t expert = 0;
                    while (expert + 1 < shares.size() && left >= shares[expert])
                        left -= shares[expert++];
                    ++statistics.row(i, 1, source)[expert];
                }
        const LayerSamples samples(statistics, 1);
        const SampleRange range = {&samples, 0, 10, 1};
        const auto covariance =
            make_problem({&range, 1}, deployment_of(kEpSize, 4), Objective::risk).covariance;
        for (std::size_t a = 0; a < shares.size(); ++a)
            for (std::size_t b = 0; b < shares.size(); ++b)
                mean[a][b] += covariance->at(a, b) / kNumTrials;
    }
    const double unit = 1.0 * kEpSize * kEpSize / (kNumSources * kIdsPerSource);
    for (std::size_t a = 0; a < shares.size(); ++a)
        for (std::size_t b = 0; b < shares.size(); ++b) {
            const double expected = unit * ((a == b ? shares[a] : 0) - shares[a] * shares[b]);
            CHECK(mean[a][b] == Approx(expected).epsilon(0.04).margin(unit * 0.002));
        }
}

TEST_CASE("the counts of one range are its sums, those of several are mixed by weight") {
    Random random(9);
    const ExpertStatistics first = random_statistics(random, 8, 3, 7);
    const ExpertStatistics second = random_statistics(random, 3, 1, 7);
    const LayerSamples a(first, 1);
    const LayerSamples b(second, 1);
    const SampleRange range = {&a, 2, 7, 5};
    const std::vector<double> single = mixed_counts({&range, 1});
    for (std::size_t expert = 0; expert < 7; ++expert) {
        double sum = 0;
        for (int i = 2; i < 7; ++i)
            sum += static_cast<double>(a.iteration(i)[expert]);
        CHECK(single[expert] == sum);
    }
    const std::vector<SampleRange> ranges = {{&a, 0, 8, 1}, {&b, 0, 3, 4}};
    const std::vector<double> mixed = mixed_counts(ranges);
    const double total_a = sum_of(mixed_counts({&ranges[0], 1}));
    const double total_b = sum_of(mixed_counts({&ranges[1], 1}));
    CHECK(sum_of(mixed) == Approx((total_a + total_b) / 2));
    const std::vector<double> load_a = load_of(ranges[0], 1);
    const std::vector<double> load_b = load_of(ranges[1], 1);
    for (std::size_t expert = 0; expert < 7; ++expert)
        CHECK(mixed[expert] / sum_of(mixed) == Approx(0.2 * load_a[expert] + 0.8 * load_b[expert]));
}

}  // namespace eplb::test_layer_samples
