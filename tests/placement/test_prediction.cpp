#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "lib/placement/plan/prediction.h"
#include "tests/catch.h"
#include "tests/placement/problems.h"

namespace eplb::test_prediction {

using eplb::choose_challenger;
using eplb::predict;
using eplb::Prediction;
using eplb::PredictionBlock;
using eplb::test::Random;

namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinite = std::numeric_limits<double>::infinity();

// The share of simulations in which the interval holds the ratio that the blocks were made with.
double coverage(int num_blocks, double shared_noise, double own_noise) {
    constexpr double kRatio = 0.8;
    constexpr int kNumTrials = 1000;
    Random random(static_cast<unsigned>(num_blocks));
    int num_inside = 0;
    for (int trial = 0; trial < kNumTrials; ++trial) {
        std::vector<PredictionBlock> blocks;
        for (int i = 0; i < num_blocks; ++i) {
            const double level = 0.1 * std::exp(shared_noise * random.normal());
            // both around the truth: exp() of a normal has the mean exp(variance / 2)
            blocks.push_back({5 * kRatio * level * std::exp(own_noise * random.normal()),
                              5 * level * std::exp(own_noise * random.normal()), 5});
        }
        const Prediction prediction = predict(blocks);
        num_inside += prediction.ratio_low <= kRatio && kRatio <= prediction.ratio_high ? 1 : 0;
    }
    return static_cast<double>(num_inside) / kNumTrials;
}

}  // namespace

TEST_CASE("a prediction is the weighted means and the jackknife of their ratio's logarithm") {
    const std::vector<PredictionBlock> blocks = {{2, 4, 10}, {3, 5, 10}, {1, 3, 10}};
    const Prediction prediction = predict(blocks);
    CHECK(prediction.imbalance == Approx(6.0 / 30));
    CHECK(prediction.baseline == Approx(12.0 / 30));
    CHECK(prediction.ratio == Approx(0.5));
    // without the first 4 / 8, the second 3 / 7, the third 5 / 9
    const double logs[] = {std::log(4.0 / 8), std::log(3.0 / 7), std::log(5.0 / 9)};
    const double mean = (logs[0] + logs[1] + logs[2]) / 3;
    double sum = 0;
    for (const double log : logs)
        sum += (log - mean) * (log - mean);
    const double error = std::sqrt(2.0 / 3 * sum);  // (n - 1) / n
    // Student's t with two degrees of freedom
    CHECK(prediction.ratio_low == Approx(0.5 * std::exp(-4.303 * error)));
    CHECK(prediction.ratio_high == Approx(0.5 * std::exp(4.303 * error)));
}

TEST_CASE("blocks weigh in a prediction by what they sum") {
    const std::vector<PredictionBlock> blocks = {{4, 5, 30}, {1, 2, 10}, {3, 3, 20}, {2, 6, 40}};
    const Prediction prediction = predict(blocks);
    CHECK(prediction.imbalance == Approx(0.1));
    CHECK(prediction.baseline == Approx(0.16));
    CHECK(prediction.ratio == Approx(10.0 / 16));
    const double without[] = {6.0 / 11, 9.0 / 14, 7.0 / 13, 8.0 / 10};
    double mean = 0;
    for (const double ratio : without)
        mean += std::log(ratio) / 4;
    double sum = 0;
    for (const double ratio : without)
        sum += std::pow(std::log(ratio) - mean, 2);
    CHECK(prediction.ratio_high == Approx(10.0 / 16 * std::exp(3.182 * std::sqrt(3.0 / 4 * sum))));
    CHECK(prediction.ratio_low * prediction.ratio_high == Approx(std::pow(10.0 / 16, 2)));
}

TEST_CASE("the interval is unknown where there is one block or no imbalance") {
    const std::vector<PredictionBlock> one = {{1, 2, 4}};
    CHECK(predict(one).ratio == 0.5);
    CHECK(std::isnan(predict(one).ratio_low));
    CHECK(std::isnan(predict(one).ratio_high));
    const std::vector<PredictionBlock> nothing = {{0, 0, 4}, {0, 0, 4}};
    CHECK(std::isnan(predict(nothing).ratio));
    CHECK(std::isnan(predict(nothing).ratio_low));
    const std::vector<PredictionBlock> perfect = {{0, 1, 4}, {0, 1, 4}};
    CHECK(predict(perfect).ratio == 0);
    CHECK(std::isnan(predict(perfect).ratio_high));
    // all of it in one block: nothing is left without that
    const std::vector<PredictionBlock> once = {{0, 1, 4}, {1, 1, 4}};
    CHECK(predict(once).ratio == 0.5);
    CHECK(std::isnan(predict(once).ratio_low));
    CHECK(std::isnan(predict(once).ratio_high));
    const std::vector<PredictionBlock> same = {{1, 2, 4}, {1, 2, 4}};
    CHECK(predict(same).ratio_low == 0.5);
    CHECK(predict(same).ratio_high == 0.5);
}

// the quantiles of the t distribution as tables have them
TEST_CASE("the interval's quantile is Student's for any number of blocks") {
    for (const auto& [degrees, quantile] : {std::pair(1, 12.706),
                                            {4, 2.776},
                                            {9, 2.262},
                                            {12, 2.179},
                                            {13, 2.160},
                                            {15, 2.131},
                                            {20, 2.086},
                                            {30, 2.042},
                                            {60, 2.000},
                                            {120, 1.980},
                                            {1000, 1.962}}) {
        std::vector<PredictionBlock> blocks;
        for (int i = 0; i <= degrees; ++i)
            blocks.push_back({1.0 + 0.1 * (i % 3), 2, 1});
        const double n = degrees + 1;
        double imbalance = 0;
        for (const PredictionBlock& block : blocks)
            imbalance += block.imbalance;
        double mean = 0;
        for (const PredictionBlock& block : blocks)
            mean += std::log(imbalance - block.imbalance) / n;
        double sum = 0;
        for (const PredictionBlock& block : blocks)
            sum += std::pow(std::log(imbalance - block.imbalance) - mean, 2);
        const Prediction prediction = predict(blocks);
        CAPTURE(degrees);
        CHECK(std::log(prediction.ratio_high / prediction.ratio) / std::sqrt((n - 1) / n * sum) ==
              Approx(quantile).margin(0.003));
    }
}

TEST_CASE("the interval holds the true ratio about 95 times of 100") {
    for (const int num_blocks : {4, 10, 20}) {
        CAPTURE(num_blocks);
        CHECK(coverage(num_blocks, 0.3, 0.1) > 0.91);
        CHECK(coverage(num_blocks, 0.3, 0.1) < 0.985);
        CHECK(coverage(num_blocks, 0.1, 0.2) > 0.90);
        CHECK(coverage(num_blocks, 0.1, 0.2) < 0.985);
    }
    CHECK(coverage(2, 0.1, 0.1) > 0.85);
    CHECK(coverage(2, 0.1, 0.1) < 0.99);
}

TEST_CASE("a challenger that is better everywhere is chosen everywhere, and a worse one nowhere") {
    const std::vector<std::vector<double>> better = {{-0.1, -0.12}, {-0.2, -0.18}, {-0.15, -0.1}};
    CHECK(choose_challenger(better) == std::vector<bool>{true, true, true});
    const std::vector<std::vector<double>> worse = {{0.1, 0.12}, {0.2, 0.18}, {0.15, 0.1}};
    CHECK(choose_challenger(worse) == std::vector<bool>{false, false, false});
    CHECK(choose_challenger({}).empty());
    CHECK(choose_challenger({{-0.1, -0.1}}) == std::vector<bool>{true});
    CHECK(choose_challenger({{0.0, 0.0}}) == std::vector<bool>{false});
}

TEST_CASE("layers that differ less than their folds all follow the mean") {
    // folds of a layer are 0.4 apart, means of layers within 0.03 of -0.02
    std::vector<std::vector<double>> noisy = {
        {-0.2, 0.22}, {0.15, -0.25}, {-0.25, 0.17}, {0.2, -0.2}};
    CHECK(choose_challenger(noisy) == std::vector<bool>(4, true));
    for (auto& folds : noisy)
        for (double& value : folds)
            value += 0.04;
    CHECK(choose_challenger(noisy) == std::vector<bool>(4, false));
}

TEST_CASE("layers that differ clearly each follow their own") {
    const std::vector<std::vector<double>> two_groups = {
        {-0.3, -0.31}, {0.2, 0.21}, {-0.28, -0.3}, {0.22, 0.2}, {-0.29, -0.29}, {0.2, 0.2}};
    CHECK(choose_challenger(two_groups) ==
          std::vector<bool>{true, false, true, false, true, false});
}

TEST_CASE("layers of which nothing is known follow the mean of the others") {
    const std::vector<double> unknown = {kUnknown, kUnknown};
    CHECK(choose_challenger({{-0.1, -0.1}, unknown, {-0.2, -0.2}}) ==
          std::vector<bool>{true, true, true});
    CHECK(choose_challenger({{0.1, 0.1}, unknown, {0.2, 0.2}, {}}) ==
          std::vector<bool>{false, false, false, false});
    CHECK(choose_challenger({unknown, unknown}) == std::vector<bool>{false, false});
    // the logarithm of 0, where one of the two has no imbalance at all
    for (const double infinite : {-kInfinite, kInfinite})
        CHECK(choose_challenger({{-0.1, -0.1}, {infinite, -0.1}, {-0.2, -0.2}}) ==
              std::vector<bool>{true, true, true});
}

// scipy.stats.t.ppf(0.975, degrees)
TEST_CASE("Student's t is that of the tables") {
    CHECK(eplb::student_t(1) == Approx(12.7062).margin(0.002));
    CHECK(eplb::student_t(3) == Approx(3.1824).margin(0.002));
    CHECK(eplb::student_t(12) == Approx(2.1788).margin(0.002));
    CHECK(eplb::student_t(13) == Approx(2.1604).margin(0.002));
    CHECK(eplb::student_t(30) == Approx(2.0423).margin(0.002));
    CHECK(eplb::student_t(1000) == Approx(1.9623).margin(0.002));
}

}  // namespace eplb::test_prediction
