// Real routes of DeepSeek-V2-Lite once more, beside the best of other programs, and with fewer and
// more tokens per iteration than were recorded.
#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lib/placement/plan/evaluation.h"
#include "tests/bench/placement/measures.h"
#include "tests/bench/placement/real_data.h"
#include "tests/bench/placement/sections.h"
#include "tests/bench/placement/text_table.h"

namespace eplb::bench {
namespace {

struct Comparison {
    int tokens_per_rank = 0;
    const char* routes = "";
    Configuration configuration;
    double best_peer = 0;
    const char* peer = "";
    int num_iterations = 0;  // that were halved; 0: all

    std::string tokens() const {
        return std::to_string(kRecordedRanks) + "x" + std::to_string(tokens_per_rank);
    }
};

// Measured, not computed here: the least of twenty peer programs (TensorRT-LLM greedy, DeepSeek
// EPLB, vLLM 0.33 default, SGLang deepseek_vec, vllm-ascend default, Swift, FlashLB, STAIR, msit
// C2LB, SpecMoE L1/L2/L2+SA, six programs of ADRS), run on the same routes and halves in November
// 2026. The least of all of them favours the peers.
//
// Six rows of 8x32 summary halve 32 of the 33 iterations: greedy of that run tells that the peers
// were measured so, and the 33rd would make ours up to 2 % lower.
constexpr std::array kComparisons = std::to_array<Comparison>({
    {32, "intent", {8, 64}, 0.0847, "msit SpecMoE L2+SA"},
    {32, "intent", {8, 72}, 0.0779, "msit SpecMoE L2+SA"},
    {32, "intent", {16, 64}, 0.1763, "msit SpecMoE L2+SA"},
    {32, "intent", {16, 80}, 0.1384, "msit SpecMoE L2+SA"},
    {32, "intent", {32, 96}, 0.2246, "msit SpecMoE L2+SA"},
    {32, "summary", {8, 64}, 0.1814, "msit SpecMoE L2+SA"},
    {32, "summary", {8, 72}, 0.1612, "msit SpecMoE L2+SA"},
    {32, "summary", {16, 64}, 0.4780, "msit SpecMoE L2+SA"},
    {32, "summary", {16, 80}, 0.2936, "msit SpecMoE L2+SA"},
    {32, "summary", {32, 96}, 0.4802, "msit SpecMoE L2+SA"},
    {32, "intent", {32, 64}, 0.9680, "ADRS gem5"},
    {32, "intent", {64, 128}, 0.3231, "STAIR (port) z1.28"},
    {32, "intent", {64, 192}, 0.2547, "STAIR (port) z1.28"},
    {32, "intent", {32, 128}, 0.1896, "msit SpecMoE L2+SA"},
    {32, "intent", {16, 128}, 0.1050, "msit SpecMoE L2+SA"},
    {32, "intent", {8, 128}, 0.0552, "STAIR (port) z1.28"},
    {32, "summary", {32, 64}, 1.4259, "STAIR (port) z.67", 32},
    {32, "summary", {64, 128}, 0.7556, "STAIR (port) z1.28", 32},
    {32, "summary", {64, 192}, 0.5476, "STAIR (port) z1.28", 32},
    {32, "summary", {32, 128}, 0.4164, "msit SpecMoE L2+SA", 32},
    {32, "summary", {16, 128}, 0.2145, "ascend FlashLB", 32},
    {32, "summary", {8, 128}, 0.1124, "ascend FlashLB", 32},
    {8, "intent", {8, 64}, 0.1488, "msit SpecMoE L2+SA"},
    {8, "intent", {8, 72}, 0.1366, "msit SpecMoE L2+SA"},
    {8, "intent", {16, 64}, 0.2953, "msit SpecMoE L2+SA"},
    {8, "intent", {16, 80}, 0.2468, "msit SpecMoE L2+SA"},
    {8, "intent", {32, 96}, 0.4019, "msit SpecMoE L2+SA"},
    {8, "summary", {8, 64}, 0.2758, "msit SpecMoE L2+SA"},
    {8, "summary", {8, 72}, 0.2379, "msit SpecMoE L2+SA"},
    {8, "summary", {16, 64}, 0.6511, "msit SpecMoE L2+SA"},
    {8, "summary", {16, 80}, 0.4470, "msit SpecMoE L2+SA"},
    {8, "summary", {32, 96}, 0.7396, "msit SpecMoE L2+SA"},
    {8, "intent", {32, 64}, 1.0529, "STAIR (port) z1.28"},
    {8, "intent", {64, 128}, 0.5941, "msit SpecMoE L2+SA"},
    {8, "intent", {64, 192}, 0.4578, "msit SpecMoE L2+SA"},
    {8, "intent", {32, 128}, 0.3395, "msit SpecMoE L2+SA"},
    {8, "intent", {16, 128}, 0.1847, "msit SpecMoE L2+SA"},
    {8, "intent", {8, 128}, 0.0940, "msit SpecMoE L2+SA"},
    {8, "summary", {32, 64}, 1.7140, "STAIR (port) z1.28"},
    {8, "summary", {64, 128}, 1.0853, "msit SpecMoE L2+SA"},
    {8, "summary", {64, 192}, 0.7798, "msit SpecMoE L2 greedy"},
    {8, "summary", {32, 128}, 0.5905, "msit SpecMoE L2+SA"},
    {8, "summary", {16, 128}, 0.3187, "msit SpecMoE L2+SA"},
    {8, "summary", {8, 128}, 0.1602, "msit SpecMoE L2+SA"},
    {128, "intent", {8, 64}, 0.0514, "msit SpecMoE L2+SA"},
    {128, "intent", {8, 72}, 0.0464, "STAIR (port) z.67"},
    {128, "intent", {16, 64}, 0.1278, "STAIR (port) z.67"},
    {128, "intent", {16, 80}, 0.0849, "STAIR (port) z1.28"},
    {128, "intent", {32, 96}, 0.1501, "msit SpecMoE L2+SA"},
    {128, "summary", {8, 64}, 0.1173, "msit SpecMoE L2+SA"},
    {128, "summary", {8, 72}, 0.1045, "msit SpecMoE L2+SA"},
    {128, "summary", {16, 64}, 0.3791, "STAIR (port) z.67"},
    {128, "summary", {16, 80}, 0.1917, "msit SpecMoE L2+SA"},
    {128, "summary", {32, 96}, 0.3283, "msit SpecMoE L2+SA"},
});

constexpr double kPeersGoalOnAverage = 0.93;
constexpr double kPeersGoalAtWorst = 1.005;

using RoutesByName = std::map<std::string, ExpertStatistics>;

// Empty where the data is absent.
RoutesByName read_by_name(int tokens_per_rank, ThreadPool& threads) {
    RoutesByName routes;
    for (Recording& recording : read_routes(tokens_per_rank, threads))
        routes.emplace(recording.name, std::move(recording.statistics));
    return routes;
}

ScenarioStatistics halves_for(const Comparison& comparison, const ExpertStatistics& routes) {
    if (comparison.num_iterations == 0)
        return halves_of(routes);
    return halves_of(iterations_of(routes, 0, comparison.num_iterations));
}

void print_ratios(const std::vector<double>& ratios) {
    const double average = mean_of(ratios);
    const auto num_above =
        std::ranges::count_if(ratios, [](double ratio) { return ratio > kPeersGoalAtWorst; });
    print_text("auto/best: " + fixed(average, 4) + " on average, " + fixed(worst_of(ratios), 3) +
               " at worst, " + std::to_string(num_above) + " of " + std::to_string(ratios.size()) +
               " above " + fixed(kPeersGoalAtWorst, 3) + "; goals: at most " +
               fixed(kPeersGoalOnAverage, 2) +
               " on average: " + met(average <= kPeersGoalOnAverage) + "; none above " +
               fixed(kPeersGoalAtWorst, 3) + ": " + met(num_above == 0));
}

}  // namespace

void bench_peers(const SectionContext& context) {
    print_title("peers", "real routes of DeepSeek-V2-Lite, beside the best of twenty peers");
    TextTable table(
        {"tokens", "routes", "ranks/slots", "greedy", "auto", "best peer", "which", "auto/best"},
        3);
    std::vector<double> ratios;
    RoutesByName routes;
    int tokens_per_rank = 0;
    for (const Comparison& comparison : kComparisons) {
        if (comparison.tokens_per_rank != tokens_per_rank) {
            tokens_per_rank = comparison.tokens_per_rank;
            routes = read_by_name(tokens_per_rank, context.threads);
            if (routes.empty())
                return;
        }
        const ScenarioStatistics halves = halves_for(comparison, routes.at(comparison.routes));
        const auto reached = [&](Algorithm algorithm) {
            const PlanRequest request = request_of(algorithm, comparison.configuration);
            return mean_outcome(fit(halves.train, request, context.threads), halves.test,
                                context.threads);
        };
        const double automatic = reached(Algorithm::automatic);
        ratios.push_back(automatic / comparison.best_peer);
        table.add({comparison.tokens(), comparison.routes, comparison.configuration.name(),
                   imbalance_text(reached(Algorithm::greedy)), imbalance_text(automatic),
                   imbalance_text(comparison.best_peer), comparison.peer, fixed(ratios.back(), 3)});
    }
    print_text(
        "Imbalance of an iteration, mean over the iterations of the second half and over layers;\n"
        "fitted to the first half of the same text. tokens: source ranks x tokens of each in an\n"
        "iteration. The best peer is the least of all, another one from row to row. 8x32 summary\n"
        "from 32/64 on: without the last iteration, as the peers were run.");
    table.print();
    print_ratios(ratios);
}

}  // namespace eplb::bench
