#ifndef EPLB_TESTS_BENCH_PLACEMENT_SECTIONS_H
#define EPLB_TESTS_BENCH_PLACEMENT_SECTIONS_H

#include "lib/base/parallel.h"

// What the project publishes about placement, each section a few tables on stdout. All figures but
// times are the same in every run.
namespace eplb::bench {

struct SectionContext {
    ThreadPool& threads;
    int num_layers = 20;  // of synthetic iterations, from layer 3 on; 58 is all
};

constexpr unsigned kScenarioSeed = 1;
constexpr int kScenarioLayers = 58;

void bench_aggregated(const SectionContext& context);
void bench_routes(const SectionContext& context);
void bench_peers(const SectionContext& context);
void bench_workloads(const SectionContext& context);
void bench_scenarios(const SectionContext& context);
void bench_prediction(const SectionContext& context);
void bench_topology(const SectionContext& context);
void bench_shapes(const SectionContext& context);
void bench_speed(const SectionContext& context);

}  // namespace eplb::bench

#endif
