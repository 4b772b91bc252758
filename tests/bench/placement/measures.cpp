#include "tests/bench/placement/measures.h"

#include <algorithm>
#include <functional>

#include "lib/placement/plan/evaluation.h"
#include "lib/placement/plan/layer_samples.h"

namespace eplb::bench {

std::string Configuration::name() const {
    return std::to_string(ep_size) + "/" + std::to_string(num_slots);
}

PlanRequest request_of(Algorithm algorithm, const Configuration& configuration) {
    PlanRequest request;
    request.algorithm = algorithm;
    request.ep_size = configuration.ep_size;
    request.num_slots = configuration.num_slots;
    return request;
}

std::string name_of(Scenario scenario) {
    switch (scenario) {
        case Scenario::iid:
            return "iid";
        case Scenario::topic:
            return "topic";
        case Scenario::replay:
            return "replay";
        case Scenario::shift:
            return "shift";
        case Scenario::multinomial:
            return "multinomial";
    }
    return "";
}

Plan fit(const ExpertStatistics& statistics, const PlanRequest& request, ThreadPool& threads) {
    const ExpertStatistics* const workload = &statistics;
    return fit({&workload, 1}, request, {.predict = false, .progress = {}}, threads);
}

Plan fit(std::span<const ExpertStatistics* const> workloads,
         const PlanRequest& request,
         const PlanScope& scope,
         ThreadPool& threads) {
    std::vector<Workload> list;
    for (const ExpertStatistics* statistics : workloads)
        list.push_back({statistics, 1, nullptr});
    return make_plan(list, request, scope, threads);
}

std::vector<double> outcome(const Plan& plan,
                            const ExpertStatistics& test,
                            ThreadPool& threads,
                            std::span<const double> rank_speed) {
    std::vector<double> means(plan.layers.size());
    threads.for_each(static_cast<std::int64_t>(means.size()), [&](std::int64_t i) {
        const auto layer = static_cast<std::size_t>(i);
        const LayerSamples samples(test, static_cast<int>(i));
        means[layer] = mean_of(iteration_imbalance({&samples, 0, test.num_iterations, 1},
                                                   plan.layers[layer].placement, rank_speed));
    });
    return means;
}

double mean_outcome(const Plan& plan,
                    const ExpertStatistics& test,
                    ThreadPool& threads,
                    std::span<const double> rank_speed) {
    return mean_of(outcome(plan, test, threads, rank_speed));
}

double worst_of(std::span<const double> values) {
    return *std::max_element(values.begin(), values.end());
}

ExpertStatistics iterations_of(const ExpertStatistics& statistics, int begin, int end) {
    ExpertStatistics part = statistics;
    part.iter_start += begin;
    part.num_iterations = end - begin;
    const auto size = static_cast<std::ptrdiff_t>(statistics.counts.size()) /
                      std::max(1, statistics.num_iterations);
    part.counts.assign(statistics.counts.begin() + begin * size,
                       statistics.counts.begin() + end * size);
    return part;
}

ExpertStatistics summed(const ExpertStatistics& statistics) {
    ExpertStatistics sum = statistics;
    sum.num_iterations = sum.num_sources = 1;
    sum.counts.clear();
    for (int layer = 0; layer < statistics.num_layers(); ++layer) {
        const std::vector<std::int64_t> counts = total_counts(statistics, layer);
        sum.counts.insert(sum.counts.end(), counts.begin(), counts.end());
    }
    return sum;
}

ExpertStatistics with_sources_summed(const ExpertStatistics& statistics) {
    ExpertStatistics sums = statistics;
    sums.num_sources = 1;
    sums.allocate();
    for (int i = 0; i < sums.num_iterations; ++i)
        for (int layer = 0; layer < sums.num_layers(); ++layer)
            for (int source = 0; source < statistics.num_sources; ++source) {
                const std::span<const std::int64_t> from = statistics.row(i, layer, source);
                const std::span<std::int64_t> to = sums.row(i, layer, 0);
                std::transform(from.begin(), from.end(), to.begin(), to.begin(), std::plus<>());
            }
    return sums;
}

ScenarioStatistics halves_of(const ExpertStatistics& statistics) {
    const int middle = statistics.num_iterations / 2;
    return {iterations_of(statistics, 0, middle),
            iterations_of(statistics, middle, statistics.num_iterations)};
}

}  // namespace eplb::bench
