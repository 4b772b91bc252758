// How long planning takes, in this process, without reading and writing.
#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <vector>

#include "lib/base/random.h"
#include "tests/bench/placement/measures.h"
#include "tests/bench/placement/sections.h"
#include "tests/bench/placement/text_table.h"
#include "tests/bench/samplers.h"

namespace eplb::bench {
namespace {

constexpr int kRuns = 5;
constexpr int kLeastRuns = 2;
constexpr double kEnoughSeconds = 10;  // no further run once so much is spent

double best_seconds(const std::function<void()>& work) {
    double best = std::numeric_limits<double>::infinity();
    double spent = 0;
    for (int run = 0; run < kRuns && (run < kLeastRuns || spent < kEnoughSeconds); ++run) {
        const auto start = std::chrono::steady_clock::now();
        work();
        const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
        best = std::min(best, passed.count());
        spent += passed.count();
    }
    return best;
}

ExpertStatistics topic_iterations(int num_layers,
                                  int num_iterations,
                                  int ep_size,
                                  ThreadPool& threads) {
    ScenarioOptions options;
    options.num_layers = num_layers;
    options.num_train = num_iterations;
    options.num_test = 0;
    options.ep_size = ep_size;
    options.seed = kScenarioSeed;
    return make_scenario(options, threads).train;
}

// Each id comes from any source rank, alike and on its own.
ExpertStatistics split_over_sources(const ExpertStatistics& statistics,
                                    int num_sources,
                                    ThreadPool& threads) {
    ExpertStatistics split = statistics;
    split.ep_size = split.num_sources = num_sources;
    split.allocate();
    threads.for_each(split.num_layers(), [&](std::int64_t index) {
        const int layer = static_cast<int>(index);
        RandomStream random(combine_keys(kScenarioSeed, split.layers[layer], num_sources));
        for (int i = 0; i < split.num_iterations; ++i) {
            const auto counts = statistics.row(i, layer, 0);
            for (std::size_t expert = 0; expert < counts.size(); ++expert) {
                int left = static_cast<int>(counts[expert]);
                for (int source = 0; source < num_sources; ++source) {
                    const int taken = random.binomial(left, 1.0 / (num_sources - source));
                    split.row(i, layer, source)[expert] = taken;
                    left -= taken;
                }
            }
        }
    });
    return split;
}

// Layers with `num_experts`, each made of as many layers of `statistics` as it takes.
ExpertStatistics widened(const ExpertStatistics& statistics, int num_layers, int num_experts) {
    const int parts = (num_experts + statistics.num_experts - 1) / statistics.num_experts;
    ExpertStatistics wide = statistics;
    wide.num_experts = num_experts;
    wide.layers.resize(num_layers);
    wide.allocate();
    for (int i = 0; i < wide.num_iterations; ++i)
        for (int layer = 0; layer < num_layers; ++layer)
            for (int expert = 0; expert < num_experts; ++expert)
                wide.row(i, layer, 0)[expert] =
                    statistics.row(i, layer * parts + expert / statistics.num_experts,
                                   0)[expert % statistics.num_experts];
    return wide;
}

class Times {
  public:
    explicit Times(ThreadPool& threads) : all_(threads), one_(1) {}

    // goal: seconds. Returns the seconds on all cores.
    double add(const std::string& what,
               const ExpertStatistics& statistics,
               const PlanRequest& request,
               bool predict,
               double goal) {
        const ExpertStatistics* const workload = &statistics;
        const PlanScope scope = {.predict = predict, .progress = {}};
        const auto time = [&](ThreadPool& threads) {
            return best_seconds([&] { fit({&workload, 1}, request, scope, threads); });
        };
        const double all = time(all_);
        const double one = time(one_);
        table_.add({what, milliseconds(all), milliseconds(one), milliseconds(goal),
                    fixed(all / goal, 2), fixed(one / goal, 2)});
        return all;
    }

    void print() const { table_.print(); }

  private:
    static std::string milliseconds(double seconds) {
        return fixed(1000 * seconds, seconds < 0.1 ? 1 : 0);
    }

    ThreadPool& all_;
    ThreadPool one_;
    TextTable table_{{"ms", "all cores", "one core", "goal", "all / goal", "one / goal"}};
};

}  // namespace

void bench_speed(const SectionContext& context) {
    print_title("speed", "time of planning, best of " + std::to_string(kRuns) +
                             " runs, of fewer where they take more than " +
                             fixed(kEnoughSeconds, 0) + " s");
    const Configuration configuration = {36, 288};
    constexpr int kNumIterations = 100;
    constexpr int kNumSources = 32;
    print_text(
        "All cores: " + std::to_string(context.threads.num_threads()) +
        ". 256 experts, 36 ranks, 288 slots, unless it says otherwise. Counts of topic; each "
        "routed\nid comes from one of 32 source ranks at random. Automatic with its "
        "predictions.");
    Times times(context.threads);
    const ExpertStatistics iterations =
        topic_iterations(kScenarioLayers, kNumIterations, configuration.ep_size, context.threads);
    const ExpertStatistics sum = summed(iterations);
    const std::string of_sums = ", 58 layers of summed counts";
    times.add("greedy" + of_sums, sum, request_of(Algorithm::greedy, configuration), false, 0.010);
    times.add("aggregated" + of_sums, sum, request_of(Algorithm::aggregated, configuration), false,
              0.050);
    std::vector<double> per_layer;
    const std::vector<int> num_layers = {kScenarioLayers / 2, kScenarioLayers, 2 * kScenarioLayers};
    for (const int layers : num_layers) {
        const ExpertStatistics split = split_over_sources(
            topic_iterations(layers, kNumIterations, kNumSources, context.threads), kNumSources,
            context.threads);
        per_layer.push_back(times.add("automatic, " + std::to_string(layers) +
                                          " layers, 100 iterations x 32 sources",
                                      split, request_of(Algorithm::automatic, configuration), true,
                                      layers == kScenarioLayers ? 1.0 : kNotKnown) /
                            layers);
    }
    constexpr int kWideLayers = 94;
    constexpr int kWideExperts = 896;
    const Configuration wide = {72, 1008};
    times.add("automatic, 94 layers x 896 experts, 72 ranks x 14 slots, 50 iterations",
              widened(topic_iterations(4 * kWideLayers, 50, wide.ep_size, context.threads),
                      kWideLayers, kWideExperts),
              request_of(Algorithm::automatic, wide), true, 5.0);
    times.print();
    std::string line = "automatic, ms per layer on all cores:";
    for (std::size_t i = 0; i < per_layer.size(); ++i)
        line += " " + fixed(1000 * per_layer[i], 2) + " at " + std::to_string(num_layers[i]) +
                (i + 1 < per_layer.size() ? "," : "");
    print_text(line + " layers");
}

}  // namespace eplb::bench
