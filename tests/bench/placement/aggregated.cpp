// How far the hottest rank of the summed load is above what no placement can be below.
#include <algorithm>
#include <numeric>
#include <vector>

#include "lib/placement/plan/evaluation.h"
#include "lib/report/views/plan_table.h"
#include "tests/bench/placement/measures.h"
#include "tests/bench/placement/real_data.h"
#include "tests/bench/placement/sections.h"
#include "tests/bench/placement/text_table.h"

namespace eplb::bench {
namespace {

const std::vector<Configuration> kConfigurations = {{32, 256}, {32, 288},  {36, 288}, {64, 320},
                                                    {72, 288}, {144, 288}, {8, 256}};

// The bound is as exact as that.
constexpr double kRounding = 1e-8;

// Of every layer; NaN where there is none.
double goal_of(const Configuration& configuration) {
    if (configuration.slots_per_rank() >= 8)
        return 1e-4;
    return configuration.slots_per_rank() >= 4 ? 1e-3 : kNotKnown;
}

std::vector<double> gaps(const std::vector<ExpertStatistics>& sums,
                         const Configuration& configuration,
                         Algorithm algorithm,
                         ThreadPool& threads) {
    std::vector<double> gaps;
    for (const ExpertStatistics& sum : sums)
        for (const LayerPlan& layer :
             fit(sum, request_of(algorithm, configuration), threads).layers)
            gaps.push_back(layer.aggregated - layer.bound);
    return gaps;
}

void add_row(const std::string& data,
             const std::vector<ExpertStatistics>& sums,
             const Configuration& configuration,
             ThreadPool& threads,
             TextTable& table) {
    const std::vector<double> greedy = gaps(sums, configuration, Algorithm::greedy, threads);
    const std::vector<double> searched = gaps(sums, configuration, Algorithm::aggregated, threads);
    const double goal = goal_of(configuration);
    const auto num_missed = std::count_if(searched.begin(), searched.end(),
                                          [&](double gap) { return gap > goal + kRounding; });
    table.add(
        {data, configuration.name(), percent(mean_of(greedy), 3), percent(worst_of(greedy), 3),
         percent(mean_of(searched), 4), percent(worst_of(searched), 4), percent(goal, 2),
         goal > 0 ? std::to_string(num_missed) + " of " + std::to_string(searched.size()) : "-"});
}

// An example that FlashLB was published with.
void add_flashlb() {
    ExpertStatistics statistics;
    statistics.counts = {600, 560, 120, 120, 20, 10, 10, 10};
    statistics.num_experts = static_cast<int>(statistics.counts.size());
    statistics.top_k = statistics.ep_size = statistics.num_sources = statistics.num_iterations = 1;
    statistics.layers = {0};
    const Configuration configuration = {8, 16};
    const double mean = static_cast<double>(std::accumulate(
                            statistics.counts.begin(), statistics.counts.end(), std::int64_t{0})) /
                        configuration.ep_size;
    ThreadPool one(1);
    print_text(
        "FlashLB's example, 8 experts on 8 ranks with 2 slots each, fullest rank. Published:\n"
        "DeepSeek's EPLB 232, FlashLB 205; the goal is the optimum of all replica counts, 196.67.");
    TextTable table({"algorithm", "fullest rank", "bound"});
    for (const Algorithm algorithm :
         {Algorithm::greedy, Algorithm::deepseek, Algorithm::aggregated}) {
        const LayerPlan layer =
            fit(statistics, request_of(algorithm, configuration), one).layers.front();
        table.add({algorithm_name(algorithm), fixed(mean * (1 + layer.aggregated), 2),
                   fixed(mean * (1 + layer.bound), 2)});
    }
    table.print();
}

}  // namespace

void bench_aggregated(const SectionContext& context) {
    print_title("aggregated", "hottest rank of the summed load, above the bound");
    print_text(
        "In % of the mean rank load, mean and worst layer. The six workloads of DeepSeek-R1 are\n"
        "planned one by one and pooled; of topic and iid, 100 iterations are summed, 58 layers.");
    TextTable table({"data", "ep/slots", "greedy mean", "worst", "aggregated mean", "worst", "goal",
                     "layers above"},
                    2);
    std::vector<ExpertStatistics> sums;
    for (Recording& workload : read_workloads())
        sums.push_back(std::move(workload.statistics));
    if (!sums.empty())
        for (const Configuration& configuration : kConfigurations)
            add_row("DeepSeek-R1", sums, configuration, context.threads, table);
    for (const Scenario scenario : {Scenario::topic, Scenario::iid})
        for (const Configuration& configuration : kConfigurations) {
            ScenarioOptions options;
            options.scenario = scenario;
            options.num_layers = kScenarioLayers;
            options.num_test = 0;
            options.ep_size = configuration.ep_size;
            options.seed = kScenarioSeed;
            add_row(name_of(scenario), {summed(make_scenario(options, context.threads).train)},
                    configuration, context.threads, table);
        }
    table.print();
    add_flashlb();
}

}  // namespace eplb::bench
