// Nodes of ranks, and ranks that are not alike.
#include <algorithm>
#include <numeric>
#include <vector>

#include "lib/placement/plan/evaluation.h"
#include "lib/placement/route/rank_load.h"
#include "tests/bench/placement/measures.h"
#include "tests/bench/placement/real_data.h"
#include "tests/bench/placement/sections.h"
#include "tests/bench/placement/text_table.h"

namespace eplb::bench {
namespace {

// Of nodes, or of ranks: what slots next to each other carry, added up.
double imbalance_of_bins(const ExpertStatistics& statistics,
                         int layer,
                         const Placement& placement,
                         int num_bins) {
    const std::vector<double> load =
        rank_load(projected_load(statistics, layer, placement.expert_ids), num_bins).values();
    const double mean = std::accumulate(load.begin(), load.end(), 0.0) / num_bins;
    return worst_of(load) / mean - 1;
}

void print_nodes(const std::vector<Recording>& recordings, ThreadPool& threads) {
    constexpr int kNumNodes = 4;
    const Configuration configuration = {32, 288};
    struct Way {
        std::string name;
        Algorithm algorithm;
        int num_nodes;
        int num_groups;
    };
    const std::vector<Way> ways = {
        {"8 groups kept on nodes: deepseek", Algorithm::deepseek, kNumNodes, 8},
        {"8 groups kept on nodes: automatic", Algorithm::automatic, kNumNodes, 8},
        {"experts kept on nodes: deepseek (256 groups)", Algorithm::deepseek, kNumNodes, 256},
        {"experts kept on nodes: automatic", Algorithm::automatic, kNumNodes, 1},
        {"anywhere: deepseek", Algorithm::deepseek, 1, 1},
        {"anywhere: automatic", Algorithm::automatic, 1, 1}};
    print_text(
        "4 nodes of 8 ranks, 288 slots, DeepSeek-R1, each workload planned alone: imbalance of "
        "the\n"
        "summed load in %, of nodes and of ranks, mean and worst over layers and workloads. No\n"
        "placement has a rank imbalance below the bound.");
    TextTable table({"placement", "nodes mean", "worst", "ranks mean", "worst", "bound mean"});
    for (const Way& way : ways) {
        PlanRequest request = request_of(way.algorithm, configuration);
        request.num_nodes = way.num_nodes;
        request.num_groups = way.num_groups;
        std::vector<double> nodes;
        std::vector<double> ranks;
        std::vector<double> bounds;
        for (const Recording& recording : recordings) {
            const Plan plan = fit(recording.statistics, request, threads);
            for (int layer = 0; layer < recording.statistics.num_layers(); ++layer) {
                const LayerPlan& of = plan.layers[layer];
                nodes.push_back(
                    imbalance_of_bins(recording.statistics, layer, of.placement, kNumNodes));
                ranks.push_back(imbalance_of_bins(recording.statistics, layer, of.placement,
                                                  configuration.ep_size));
                bounds.push_back(of.bound);
            }
        }
        table.add({way.name, percent(mean_of(nodes), 3), percent(worst_of(nodes), 3),
                   percent(mean_of(ranks), 3), percent(worst_of(ranks), 3),
                   way.algorithm == Algorithm::automatic ? percent(mean_of(bounds), 3) : ""});
    }
    table.print();
}

std::vector<double> speeds_of(const Configuration& configuration) {
    constexpr int kNumSlow = 4;
    std::vector<double> speed(configuration.ep_size, 1.0);
    std::fill_n(speed.begin(), kNumSlow, 0.8);
    return speed;
}

void add_speed_row(const std::string& data,
                   const ScenarioStatistics& statistics,
                   ThreadPool& threads,
                   TextTable& table) {
    const Configuration configuration = {36, 288};
    const std::vector<double> speed = speeds_of(configuration);
    const auto tested = [&](Algorithm algorithm, bool is_known) {
        PlanRequest request = request_of(algorithm, configuration);
        if (is_known)
            request.rank_speed = speed;
        return mean_outcome(fit(statistics.train, request, threads), statistics.test, threads,
                            speed);
    };
    const double not_known = tested(Algorithm::automatic, false);
    const double known = tested(Algorithm::automatic, true);
    table.add({data, imbalance_text(tested(Algorithm::greedy, false)), imbalance_text(not_known),
               imbalance_text(known), change(1 + known, 1 + not_known)});
}

}  // namespace

void bench_topology(const SectionContext& context) {
    print_title("topology", "nodes, and ranks of different speed");
    const std::vector<Recording> recordings = read_workloads();
    if (!recordings.empty())
        print_nodes(recordings, context.threads);

    print_text(
        "36 ranks of which 4 run at 0.8 of the others' speed, 288 slots: imbalance of the time "
        "that\n"
        "ranks take, mean over layers, without and with rank_speed given; and the change of the\n"
        "slowest rank's time. DeepSeek-R1: of the sums fitted to. Topic: of 300 later iterations.");
    TextTable table({"data", "greedy", "automatic", "knowing speeds", "time"});
    for (const Recording& recording : recordings)
        add_speed_row(recording.name, {recording.statistics, recording.statistics}, context.threads,
                      table);
    ScenarioOptions options;
    options.num_layers = context.num_layers;
    options.ep_size = 36;
    options.seed = kScenarioSeed;
    add_speed_row("topic", make_scenario(options, context.threads), context.threads, table);
    table.print();
}

}  // namespace eplb::bench
