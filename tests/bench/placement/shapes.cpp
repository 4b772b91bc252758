// Unusual shapes: many experts or ranks, few slots, loads of a kind that no recording has. How near
// greedy and the bound, and how long it takes.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/random.h"
#include "lib/placement/plan/evaluation.h"
#include "lib/placement/plan/layer_samples.h"
#include "lib/placement/search/placer.h"
#include "tests/bench/placement/measures.h"
#include "tests/bench/placement/real_data.h"
#include "tests/bench/placement/sections.h"
#include "tests/bench/placement/text_table.h"
#include "tests/bench/samplers.h"

namespace eplb::bench {
namespace {

enum class Popularity { zipf, lognormal, equal, hot, skewed };

// What the experts of a layer carry.
struct Popular {
    Popularity kind = Popularity::zipf;
    int num_hot = 0;  // of hot: so many carry everything

    std::string name() const {
        switch (kind) {
            case Popularity::zipf:
                return "Zipf 0.6";
            case Popularity::lognormal:
                return "lognormal";
            case Popularity::equal:
                return "equal";
            case Popularity::hot:
                return std::to_string(num_hot) + " hot";
            case Popularity::skewed:
                return "one 90 %";
        }
        return "";
    }
};

struct Shape {
    int num_experts = 0;
    Configuration configuration;
    Popular popular;
    int times_layers = 1;  // as many layers as others

    // ms that a layer may take at most, of `automatic` or a single search
    double goal() const { return num_experts > 256 ? 100 : 20; }
};

constexpr int kIdsPerRank = 1024;  // of an iteration: 128 tokens with top_k 8
constexpr int kSources = 8;
constexpr int kTrain = 32;
constexpr int kTest = 32;
// of an iteration's popularity around that of the recording, besides what drawing ids does
constexpr double kSpread = 0.3;
constexpr double kNoise = 1.01;  // so much above greedy counts, on iterations

// Sums to 1, in any order.
std::vector<double> popularity(const Shape& shape, RandomStream& random) {
    std::vector<double> shares;
    for (int expert = 0; expert < shape.num_experts; ++expert)
        switch (shape.popular.kind) {
            case Popularity::zipf:
                shares.push_back(portable_exp(-0.6 * portable_log(expert + 1.0)));
                break;
            case Popularity::lognormal:
                shares.push_back(portable_exp(random.normal()));
                break;
            case Popularity::equal:
                shares.push_back(1);
                break;
            case Popularity::hot:
                shares.push_back(expert < shape.popular.num_hot ? 1 : 0);
                break;
            case Popularity::skewed:
                shares.push_back(expert == 0 ? 9.0 * (shape.num_experts - 1) : 1);
                break;
        }
    for (int i = shape.num_experts - 1; i > 0; --i)
        std::swap(shares[i], shares[random.below(i + 1)]);
    double sum = 0;
    for (const double share : shares)
        sum += share;
    for (double& share : shares)
        share /= sum;
    return shares;
}

ExpertStatistics empty_statistics(const Shape& shape, int num_layers, int num_iterations) {
    ExpertStatistics statistics;
    statistics.num_experts = shape.num_experts;
    statistics.top_k = 8;
    statistics.ep_size = shape.configuration.ep_size;
    statistics.num_sources = num_iterations > 1 ? kSources : 1;
    statistics.num_iterations = num_iterations;
    for (int layer = 0; layer < num_layers; ++layer)
        statistics.layers.push_back(layer);
    statistics.allocate();
    return statistics;
}

// A sum of so many ids that they are in proportion to the popularity, to 1e-6 and better.
ExpertStatistics sums_of(const Shape& shape, int num_layers) {
    ExpertStatistics sums = empty_statistics(shape, num_layers, 1);
    for (int layer = 0; layer < num_layers; ++layer) {
        RandomStream random(combine_keys(kScenarioSeed, layer, shape.num_experts));
        const std::vector<double> shares = popularity(shape, random);
        for (std::size_t expert = 0; expert < shares.size(); ++expert)
            sums.row(0, layer, 0)[expert] =
                static_cast<std::int64_t>(std::round(shares[expert] * 1e10));
    }
    return sums;
}

// The popularity varies from iteration to iteration, expert by expert; each id is drawn on its own.
ExpertStatistics iterations_of(const Shape& shape, int num_layers, ThreadPool& threads) {
    ExpertStatistics statistics = empty_statistics(shape, num_layers, kTrain + kTest);
    threads.for_each(num_layers, [&](std::int64_t index) {
        const int layer = static_cast<int>(index);
        RandomStream random(combine_keys(kScenarioSeed, layer, shape.num_experts));
        const std::vector<double> shares = popularity(shape, random);
        for (int i = 0; i < statistics.num_iterations; ++i) {
            std::vector<double> now = shares;
            double sum = 0;
            for (double& share : now) {
                share *= portable_exp(kSpread * random.normal());
                sum += share;
            }
            for (int source = 0; source < kSources; ++source) {
                int left = kIdsPerRank * shape.configuration.ep_size / kSources;
                double rest = sum;
                for (std::size_t expert = 0; expert < now.size() && left > 0; ++expert) {
                    // rounding may leave a little where there is no expert left
                    const double part = rest > 0 ? std::min(1.0, now[expert] / rest) : 0;
                    const int taken = random.binomial(left, part);
                    statistics.row(i, layer, source)[expert] = taken;
                    left -= taken;
                    rest -= now[expert];
                }
            }
        }
    });
    return statistics;
}

// One layer, on one core.
double milliseconds_of_place(const ExpertStatistics& statistics, const Shape& shape) {
    Deployment deployment;
    deployment.ep_size = shape.configuration.ep_size;
    deployment.num_slots = shape.configuration.num_slots;
    const LayerSamples samples(statistics, 0);
    const SampleRange range = {&samples, 0, statistics.num_iterations, 1};
    const PlacementProblem problem = make_problem({&range, 1}, deployment, Objective::aggregated);
    PlacerOptions options;
    options.objective = Objective::aggregated;
    const auto start = std::chrono::steady_clock::now();
    place(problem, deployment, options);
    const std::chrono::duration<double, std::milli> passed =
        std::chrono::steady_clock::now() - start;
    return passed.count();
}

struct Timed {
    Plan plan;
    double milliseconds = 0;  // per layer
};

Timed timed_plan(const ExpertStatistics& statistics,
                 Algorithm algorithm,
                 const Shape& shape,
                 ThreadPool& threads) {
    const ExpertStatistics* const workload = &statistics;
    const auto start = std::chrono::steady_clock::now();
    Plan plan = fit({&workload, 1}, request_of(algorithm, shape.configuration),
                    {.predict = true, .progress = {}}, threads);
    const std::chrono::duration<double, std::milli> passed =
        std::chrono::steady_clock::now() - start;
    return {std::move(plan), passed.count() / statistics.num_layers()};
}

std::vector<std::string> names_of(const Shape& shape, int num_layers) {
    return {std::to_string(shape.num_experts), shape.configuration.name(), shape.popular.name(),
            std::to_string(num_layers)};
}

// How many are slower than their goal, and which are above greedy.
class Faults {
  public:
    void add(const Shape& shape, bool is_slow, bool is_above) {
        ++num_shapes_;
        num_slow_ += is_slow ? 1 : 0;
        if (!is_above)
            return;
        ++num_above_;
        above_ += "\n  " + std::to_string(shape.num_experts) + " experts, " +
                  shape.configuration.name() + ", " + shape.popular.name();
    }
    void print() const {
        const std::string of_all = " of " + std::to_string(num_shapes_);
        print_text("slower than the goal: " + std::to_string(num_slow_) + of_all +
                   "\nabove greedy: " + std::to_string(num_above_) + of_all + above_);
    }

  private:
    int num_shapes_ = 0;
    int num_slow_ = 0;
    int num_above_ = 0;
    std::string above_;
};

const std::vector<Shape>& shapes() {
    static const std::vector<Shape> all = [] {
        std::vector<Shape> list;
        constexpr Popular kZipf = {Popularity::zipf};
        constexpr Popular kLognormal = {Popularity::lognormal};
        for (const Configuration& configuration : {Configuration{36, 288},
                                                   {72, 288},
                                                   {144, 288},
                                                   {288, 288},
                                                   {288, 576},
                                                   {64, 256},
                                                   {128, 256},
                                                   {256, 256}})
            for (const Popular& popular : {kZipf, kLognormal})
                list.push_back({256, configuration, popular});
        for (const Popular& popular : {kZipf, kLognormal}) {
            list.push_back({384, {72, 432}, popular});
            list.push_back({384, {144, 432}, popular});
            list.push_back({384, {288, 576}, popular});
            list.push_back({512, {72, 576}, popular});
            list.push_back({512, {144, 576}, popular});
            list.push_back({512, {288, 576}, popular});
            list.push_back({896, {72, 1008}, popular});
            list.push_back({896, {144, 1008}, popular});
            list.push_back({896, {288, 1152}, popular});
        }
        for (const int num_hot : {1, 3, 4, 8}) {
            list.push_back({256, {32, 288}, {Popularity::hot, num_hot}});
            list.push_back({64, {32, 96}, {Popularity::hot, num_hot}});
            list.push_back({128, {64, 192}, {Popularity::hot, num_hot}});
        }
        for (const Popularity kind : {Popularity::skewed, Popularity::equal}) {
            list.push_back({256, {36, 288}, {kind}});
            list.push_back({256, {144, 288}, {kind}});
            list.push_back({256, {288, 576}, {kind}});
            list.push_back({896, {72, 1008}, {kind}});
        }
        list.push_back({256, {36, 288}, kZipf, 6});
        return list;
    }();
    return all;
}

void print_sums(const SectionContext& context, int num_layers) {
    print_text(
        "One sum per layer: imbalance of the summed load, mean over layers; how far the worst "
        "layer\n"
        "is above the bound; ms per layer of a plan on all cores, and of one place() on one core.");
    TextTable table({"experts", "ep/slots", "loads", "layers", "greedy", "automatic", "bound",
                     "worst above", "ms/layer", "one place()", "goal"},
                    3);
    Faults faults;
    for (const Shape& shape : shapes()) {
        const int layers = num_layers * shape.times_layers;
        const ExpertStatistics sums = sums_of(shape, layers);
        const Plan greedy =
            fit(sums, request_of(Algorithm::greedy, shape.configuration), context.threads);
        const Timed searched = timed_plan(sums, Algorithm::automatic, shape, context.threads);
        double worst = 0;
        bool is_above = false;
        for (std::size_t i = 0; i < greedy.layers.size(); ++i) {
            const LayerPlan& layer = searched.plan.layers[i];
            worst = std::max(worst, layer.aggregated - layer.bound);
            is_above |= layer.aggregated > greedy.layers[i].aggregated + 1e-9;
        }
        faults.add(shape, searched.milliseconds > shape.goal(), is_above);
        std::vector<std::string> row = names_of(shape, layers);
        for (const double value : {mean_over_layers(greedy, &LayerPlan::aggregated),
                                   mean_over_layers(searched.plan, &LayerPlan::aggregated),
                                   mean_over_layers(searched.plan, &LayerPlan::bound), worst})
            row.push_back(imbalance_text(value));
        row.push_back(fixed(searched.milliseconds, 1));
        row.push_back(fixed(milliseconds_of_place(sums, shape), 1));
        row.push_back(fixed(shape.goal(), 0));
        table.add(std::move(row));
    }
    table.print();
    faults.print();
}

void print_iterations(const SectionContext& context, int num_layers) {
    print_text("Iterations: " + std::to_string(kTrain) + " of " + std::to_string(kSources) +
               " source ranks, fitted to and predicted, " + std::to_string(kTest) +
               " later ones measured;\nimbalance of an iteration, mean over iterations and "
               "layers. The loads of experts vary by " +
               fixed(100 * kSpread, 0) + " %,\neach on its own. Above greedy: by more than " +
               fixed(100 * (kNoise - 1), 0) +
               " %. Samples are tried in four layers, which weighs\n"
               "more where layers are few.");
    TextTable table({"experts", "ep/slots", "loads", "layers", "greedy", "automatic", "change",
                     "by search", "ms/layer", "goal"},
                    3);
    Faults faults;
    for (const Shape& shape : shapes()) {
        const int layers = num_layers * shape.times_layers;
        const ExpertStatistics all = iterations_of(shape, layers, context.threads);
        const ExpertStatistics train = bench::iterations_of(all, 0, kTrain);
        const ExpertStatistics test = bench::iterations_of(all, kTrain, kTrain + kTest);
        const double greedy = mean_outcome(
            fit(train, request_of(Algorithm::greedy, shape.configuration), context.threads), test,
            context.threads);
        const Timed searched = timed_plan(train, Algorithm::automatic, shape, context.threads);
        const double automatic = mean_outcome(searched.plan, test, context.threads);
        faults.add(shape, searched.milliseconds > shape.goal(), automatic > greedy * kNoise);
        std::vector<std::string> row = names_of(shape, layers);
        row.push_back(imbalance_text(greedy));
        row.push_back(imbalance_text(automatic));
        row.push_back(greedy > 0 ? change(automatic, greedy) : "-");
        row.push_back(std::to_string(searched.plan.num_searched_layers));
        row.push_back(fixed(searched.milliseconds, 1));
        row.push_back(fixed(shape.goal(), 0));
        table.add(std::move(row));
    }
    table.print();
    faults.print();
}

// With two slots per rank the heaviest goes with the lightest, and so on; no pairing is better.
double pairing_optimum(std::vector<std::int64_t> counts, int ep_size) {
    std::sort(counts.begin(), counts.end());
    std::int64_t fullest = 0;
    std::int64_t total = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        fullest = std::max(fullest, counts[i] + counts[counts.size() - 1 - i]);
        total += counts[i];
    }
    return static_cast<double>(fullest) * ep_size / static_cast<double>(total) - 1;
}

void print_without_spare(const SectionContext& context) {
    const std::vector<Recording> routes = read_routes(context.threads);
    if (routes.empty())
        return;
    print_text(
        "No slot to spare, summed load of DeepSeek-V2-Lite's real routes, mean over layers. "
        "Optimum:\n"
        "of all pairings (exact).");
    TextTable table({"routes", "ep/slots", "greedy", "aggregated", "optimum", "bound",
                     "layers at the optimum", "at the bound", "worst above"},
                    2);
    for (const Recording& recording : routes)
        for (const Configuration& configuration :
             {Configuration{32, 64}, Configuration{16, 64}, Configuration{8, 64}}) {
            const ExpertStatistics sums = summed(recording.statistics);
            const auto planned = [&](Algorithm algorithm) {
                return fit(sums, request_of(algorithm, configuration), context.threads);
            };
            const Plan searched = planned(Algorithm::aggregated);
            const bool is_paired = configuration.slots_per_rank() == 2;
            std::vector<double> optima;
            double worst = 0;
            int num_at_optimum = 0;
            int num_at_bound = 0;
            for (int i = 0; i < sums.num_layers(); ++i) {
                const LayerPlan& layer = searched.layers[static_cast<std::size_t>(i)];
                worst = std::max(worst, layer.aggregated - layer.bound);
                num_at_bound += layer.aggregated <= layer.bound + 1e-8 ? 1 : 0;
                if (!is_paired)
                    continue;
                optima.push_back(pairing_optimum(total_counts(sums, i), configuration.ep_size));
                num_at_optimum += layer.aggregated <= optima.back() + 1e-8 ? 1 : 0;
            }
            const auto of_layers = [&](int count) {
                return std::to_string(count) + " of " + std::to_string(sums.num_layers());
            };
            table.add({recording.name, configuration.name(),
                       imbalance_text(
                           mean_over_layers(planned(Algorithm::greedy), &LayerPlan::aggregated)),
                       imbalance_text(mean_over_layers(searched, &LayerPlan::aggregated)),
                       is_paired ? imbalance_text(mean_of(optima)) : "-",
                       imbalance_text(mean_over_layers(searched, &LayerPlan::bound)),
                       is_paired ? of_layers(num_at_optimum) : "-", of_layers(num_at_bound),
                       imbalance_text(worst)});
        }
    table.print();
}

}  // namespace

void bench_shapes(const SectionContext& context) {
    print_title("shapes", "unusual numbers of experts, ranks and slots, unusual loads");
    print_without_spare(context);
    print_sums(context, context.num_layers);
    print_iterations(context, std::max(1, context.num_layers / 5));
}

}  // namespace eplb::bench
