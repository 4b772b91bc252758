// What a plan says of later iterations, and what they then are.
#include <cmath>
#include <vector>

#include "lib/placement/plan/evaluation.h"
#include "tests/bench/placement/measures.h"
#include "tests/bench/placement/real_data.h"
#include "tests/bench/placement/sections.h"
#include "tests/bench/placement/text_table.h"

namespace eplb::bench {
namespace {

const std::vector<Configuration> kConfigurations = {{8, 64}, {8, 72}, {16, 64}, {16, 80}, {32, 96}};

class Predictions {
  public:
    explicit Predictions(ThreadPool& threads) : threads_(threads) {}

    void add(const std::string& data,
             const ScenarioStatistics& statistics,
             const Configuration& configuration) {
        const ExpertStatistics* const train = &statistics.train;
        const Plan plan =
            fit({&train, 1}, request_of(Algorithm::automatic, configuration), {}, threads_);
        const Plan greedy =
            fit(statistics.train, request_of(Algorithm::greedy, configuration), threads_);
        const double imbalance = mean_outcome(plan, statistics.test, threads_);
        const double ratio = imbalance / mean_outcome(greedy, statistics.test, threads_);
        const Prediction& predicted = plan.prediction;
        const bool is_inside = predicted.ratio_low <= ratio && ratio <= predicted.ratio_high;
        ++num_predictions_;
        num_inside_ += is_inside;
        errors_.push_back(std::abs(predicted.ratio - ratio));
        imbalance_errors_.push_back(std::abs(predicted.imbalance / imbalance - 1));
        table_.add({data, configuration.name(), imbalance_text(predicted.imbalance),
                    imbalance_text(imbalance), fixed(predicted.ratio, 3),
                    fixed(predicted.ratio_low, 3) + " to " + fixed(predicted.ratio_high, 3),
                    fixed(ratio, 3), is_inside ? "yes" : "no"});
    }

    void print() const {
        table_.print();
        print_text("inside: " + std::to_string(num_inside_) + " of " +
                   std::to_string(num_predictions_) + " (" +
                   percent(static_cast<double>(num_inside_) / num_predictions_, 0) +
                   " %); predicted ratios are off by " + fixed(mean_of(errors_), 3) +
                   " on average, " + fixed(worst_of(errors_), 3) +
                   " at worst,\npredicted imbalances by " + percent(mean_of(imbalance_errors_), 1) +
                   " % and " + percent(worst_of(imbalance_errors_), 1) + " %");
    }

  private:
    ThreadPool& threads_;
    TextTable table_{{"data", "ep/slots", "predicted", "outcome", "predicted ratio", "interval",
                      "outcome ratio", "inside"},
                     2};
    int num_predictions_ = 0;
    int num_inside_ = 0;
    std::vector<double> errors_;
    std::vector<double> imbalance_errors_;
};

}  // namespace

void bench_prediction(const SectionContext& context) {
    print_title("prediction", "what a plan predicts, and what later iterations are");
    print_text(
        "Algorithm automatic. Predicted from halves of the iterations that the plan is fitted to;\n"
        "outcome: imbalance of later iterations, mean over layers. Ratio: against greedy fitted "
        "to\n"
        "the same iterations; interval: where 95 % of the ratios should be. Routes: first half of\n"
        "the iterations, then the second. Synthetic: 100 iterations, then 300; " +
        std::to_string(context.num_layers) + " layers.");
    Predictions predictions(context.threads);
    for (const Recording& recording : read_routes(context.threads))
        for (const Configuration& configuration : kConfigurations)
            predictions.add(recording.name, halves_of(recording.statistics), configuration);
    for (const Scenario scenario : {Scenario::topic, Scenario::iid, Scenario::shift}) {
        const Configuration configuration = {36, 288};
        ScenarioOptions options;
        options.scenario = scenario;
        options.num_layers = context.num_layers;
        options.ep_size = configuration.ep_size;
        options.seed = kScenarioSeed;
        predictions.add(name_of(scenario), make_scenario(options, context.threads), configuration);
    }
    predictions.print();
}

}  // namespace eplb::bench
