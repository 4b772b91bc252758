// Real routes of DeepSeek-V2-Lite: the first half of the iterations fits, the second half tests.
#include <array>
#include <vector>

#include "lib/placement/plan/evaluation.h"
#include "tests/bench/placement/measures.h"
#include "tests/bench/placement/real_data.h"
#include "tests/bench/placement/sections.h"
#include "tests/bench/placement/text_table.h"

namespace eplb::bench {
namespace {

const std::vector<Configuration> kConfigurations = {{8, 64}, {8, 72}, {16, 64}, {16, 80}, {32, 96}};
constexpr std::array kSearches = {Algorithm::aggregated, Algorithm::risk, Algorithm::automatic};
constexpr double kGoalOnAverage = -0.20;
constexpr double kGoalAtWorst = 0.01;

struct Domain {
    std::string name;
    ScenarioStatistics halves;
};

void print_each(const std::vector<Domain>& domains, ThreadPool& threads) {
    print_text(
        "Imbalance of an iteration, mean over the iterations of the second half and over layers;\n"
        "fitted to the first half of the same text. Changes are against greedy.");
    TextTable table({"text", "ep/slots", "greedy", "aggregated", "change", "risk", "change",
                     "automatic", "change", "layers by risk"},
                    2);
    std::array<std::vector<double>, kSearches.size()> changes;
    for (const Domain& domain : domains)
        for (const Configuration& configuration : kConfigurations) {
            const auto planned = [&](Algorithm algorithm) {
                return fit(domain.halves.train, request_of(algorithm, configuration), threads);
            };
            const double greedy =
                mean_outcome(planned(Algorithm::greedy), domain.halves.test, threads);
            std::vector<std::string> row = {domain.name, configuration.name(),
                                            imbalance_text(greedy)};
            for (std::size_t i = 0; i < kSearches.size(); ++i) {
                const Plan plan = planned(kSearches[i]);
                const double searched = mean_outcome(plan, domain.halves.test, threads);
                changes[i].push_back(searched / greedy - 1);
                row.push_back(imbalance_text(searched));
                row.push_back(change(searched, greedy));
                if (kSearches[i] == Algorithm::automatic)
                    row.push_back(std::to_string(plan.num_searched_layers) + " of " +
                                  std::to_string(plan.layers.size()));
            }
            table.add(std::move(row));
        }
    std::vector<std::string> average = {"average", "", ""};
    std::vector<std::string> worst = {"worst", "", ""};
    for (const std::vector<double>& of : changes) {
        average.insert(average.end(), {"", change(1 + mean_of(of), 1)});
        worst.insert(worst.end(), {"", change(1 + worst_of(of), 1)});
    }
    table.add(std::move(average));
    table.add(std::move(worst));
    table.print();
    print_text("goals of automatic: " + change(1 + kGoalOnAverage, 1) +
               " on average: " + met(mean_of(changes.back()) <= kGoalOnAverage) + "; none above " +
               change(1 + kGoalAtWorst, 1) + ": " + met(worst_of(changes.back()) <= kGoalAtWorst));
}

// What the fit itself promises, and what knowing the source ranks is worth; by risk.
void print_learning(const std::vector<Domain>& domains, ThreadPool& threads) {
    std::vector<double> promised;
    std::vector<double> with_sources;
    std::vector<double> without;
    for (const Domain& domain : domains)
        for (const Configuration& configuration : kConfigurations) {
            const PlanRequest request = request_of(Algorithm::risk, configuration);
            const ScenarioStatistics& halves = domain.halves;
            const Plan plan = fit(halves.train, request, threads);
            const double greedy = mean_outcome(
                fit(halves.train, request_of(Algorithm::greedy, configuration), threads),
                halves.test, threads);
            const double outcome = mean_outcome(plan, halves.test, threads);
            promised.push_back(mean_over_layers(plan, &LayerPlan::fitted) / outcome - 1);
            with_sources.push_back(outcome / greedy - 1);
            without.push_back(mean_outcome(fit(with_sources_summed(halves.train), request, threads),
                                           halves.test, threads) /
                                  greedy -
                              1);
        }
    print_text("risk, averages of the above: the imbalance of the fit is " +
               change(1 + mean_of(promised), 1) + " from what comes; against greedy " +
               change(1 + mean_of(with_sources), 1) + ",\nand " + change(1 + mean_of(without), 1) +
               " where the source ranks are added up before the fit");
}

void print_common(const std::vector<Domain>& domains, ThreadPool& threads) {
    print_text(
        "One placement for both texts, fitted to the first halves of both, as two workloads of\n"
        "equal weight; beside greedy fitted to each text alone.");
    TextTable table({"tested on", "ep/slots", "greedy on it alone", "greedy on both",
                     "automatic on both", "against greedy alone"},
                    2);
    std::vector<const ExpertStatistics*> both;
    both.reserve(domains.size());
    for (const Domain& domain : domains)
        both.push_back(&domain.halves.train);
    for (const Configuration& configuration : kConfigurations) {
        const PlanScope scope = {.predict = false, .progress = {}};
        const PlanRequest request = request_of(Algorithm::greedy, configuration);
        const Plan greedy = fit(both, request, scope, threads);
        const Plan automatic =
            fit(both, request_of(Algorithm::automatic, configuration), scope, threads);
        for (const Domain& domain : domains) {
            const double alone = mean_outcome(fit(domain.halves.train, request, threads),
                                              domain.halves.test, threads);
            const double common = mean_outcome(automatic, domain.halves.test, threads);
            table.add({domain.name, configuration.name(), imbalance_text(alone),
                       imbalance_text(mean_outcome(greedy, domain.halves.test, threads)),
                       imbalance_text(common), change(common, alone)});
        }
    }
    table.print();
}

}  // namespace

void bench_routes(const SectionContext& context) {
    print_title("routes", "real routes of DeepSeek-V2-Lite");
    std::vector<Domain> domains;
    for (const Recording& recording : read_routes(context.threads)) {
        const ExpertStatistics& statistics = recording.statistics;
        domains.push_back({recording.name, halves_of(statistics)});
        print_text(recording.name + ": " + std::to_string(statistics.num_layers()) + " layers, " +
                   std::to_string(statistics.num_iterations) + " iterations, " +
                   std::to_string(statistics.num_sources) + " source ranks");
    }
    if (domains.empty())
        return;
    print_each(domains, context.threads);
    print_learning(domains, context.threads);
    print_common(domains, context.threads);
}

}  // namespace eplb::bench
