// Synthetic iterations of a model like DeepSeek-R1: held-out imbalance in each scenario.
#include <array>
#include <vector>

#include "lib/placement/plan/evaluation.h"
#include "tests/bench/placement/measures.h"
#include "tests/bench/placement/sections.h"
#include "tests/bench/placement/text_table.h"

namespace eplb::bench {
namespace {

const std::vector<Configuration> kConfigurations = {{36, 288}, {32, 288},  {64, 320},
                                                    {72, 288}, {144, 288}, {8, 256}};
constexpr std::array kScenarios = {Scenario::topic, Scenario::iid, Scenario::replay,
                                   Scenario::shift, Scenario::multinomial};
constexpr std::array kSearches = {Algorithm::aggregated, Algorithm::risk, Algorithm::automatic};
constexpr double kGoal = -0.35;

double mean_floor(const Plan& plan) {
    std::vector<double> values;
    for (const LayerPlan& layer : plan.layers)
        values.push_back(layer.noise_floor);
    return mean_of(values);
}

}  // namespace

void bench_scenarios(const SectionContext& context) {
    print_title("scenarios", "synthetic iterations, fitted to 100 and tested on 300 later ones");
    print_text("Imbalance of an iteration, mean over iterations and " +
               std::to_string(context.num_layers) +
               " layers;\n"
               "changes are against greedy. Floor: what the sampling of 128 tokens per rank alone\n"
               "leaves, nearly.");
    TextTable table({"scenario", "ep/slots", "greedy", "aggregated", "change", "risk", "change",
                     "automatic", "change", "layers by risk", "floor"},
                    2);
    std::string verdict;
    for (const Scenario scenario : kScenarios)
        for (const Configuration& configuration : kConfigurations) {
            ScenarioOptions options;
            options.scenario = scenario;
            options.num_layers = context.num_layers;
            options.ep_size = configuration.ep_size;
            options.seed = kScenarioSeed;
            const ScenarioStatistics statistics = make_scenario(options, context.threads);
            const auto planned = [&](Algorithm algorithm) {
                return fit(statistics.train, request_of(algorithm, configuration), context.threads);
            };
            const double greedy =
                mean_outcome(planned(Algorithm::greedy), statistics.test, context.threads);
            std::vector<std::string> row = {name_of(scenario), configuration.name(),
                                            imbalance_text(greedy)};
            for (const Algorithm algorithm : kSearches) {
                const Plan plan = planned(algorithm);
                const double searched = mean_outcome(plan, statistics.test, context.threads);
                row.push_back(imbalance_text(searched));
                row.push_back(change(searched, greedy));
                if (algorithm != Algorithm::automatic)
                    continue;
                row.push_back(std::to_string(plan.num_searched_layers) + " of " +
                              std::to_string(plan.layers.size()));
                row.push_back(imbalance_text(mean_floor(plan)));
                if (scenario == Scenario::topic && configuration.ep_size == 36)
                    verdict = "goal: topic at 36/288 " + change(1 + kGoal, 1) +
                              " or better by automatic: " + met(searched / greedy - 1 <= kGoal);
            }
            table.add(std::move(row));
        }
    table.print();
    print_text(verdict);
}

}  // namespace eplb::bench
