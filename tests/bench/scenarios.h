#ifndef EPLB_TESTS_BENCH_SCENARIOS_H
#define EPLB_TESTS_BENCH_SCENARIOS_H

#include "lib/base/parallel.h"
#include "lib/statistics/expert_statistics.h"

// Synthetic counts of a model like DeepSeek-R1, to fit placements on and to test them on others.
// All scenarios agree with the table of load statistics that TensorRT-LLM publishes for it, apart
// from multinomial, which shows what sampling alone does; they differ in what recurs.
namespace eplb::bench {

enum class Scenario {
    iid,          // shares of the experts vary on their own, in every iteration anew (Dirichlet)
    topic,        // shares follow a few topics, which come and go slowly
    replay,       // topic, and the test meets the topics of the training again
    shift,        // topic, and in the test other shares than in the training
    multinomial,  // shares stay; counts vary by sampling alone
};

struct ScenarioOptions {
    Scenario scenario = Scenario::topic;
    int num_layers = 58;
    int first_layer = 3;  // model layer id; a layer's counts depend on the id, not on the others
    int num_train = 100;  // iterations; at least 1 for replay
    int num_test = 300;
    int ep_size = 32;    // 128 tokens per rank and iteration
    int num_topics = 8;  // the last two: topic, replay and shift
    double rho = 0.9;    // correlation of a topic's strength from one iteration to the next
    unsigned seed = 0;
};

// 256 experts, top_k 8, summed over the source ranks; the test's iterations follow the training's.
struct ScenarioStatistics {
    ExpertStatistics train;
    ExpertStatistics test;
};

// The same numbers for the same options everywhere. A seed means the same popularity of the experts
// and the same topics in all scenarios.
ScenarioStatistics make_scenario(const ScenarioOptions& options, ThreadPool& threads);

}  // namespace eplb::bench

#endif
