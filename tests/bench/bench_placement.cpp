// Prints what the project publishes about placement.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "tests/bench/placement/sections.h"

namespace {

using namespace eplb::bench;

struct Section {
    std::string name;
    void (*run)(const SectionContext& context);
};

const std::vector<Section> kSections = {{"aggregated", bench_aggregated},
                                        {"routes", bench_routes},
                                        {"peers", bench_peers},
                                        {"workloads", bench_workloads},
                                        {"scenarios", bench_scenarios},
                                        {"prediction", bench_prediction},
                                        {"topology", bench_topology},
                                        {"shapes", bench_shapes},
                                        {"speed", bench_speed}};

// The exit code.
int run(int argc, char** argv) {
    std::vector<std::string> names;
    names.reserve(kSections.size());
    for (const Section& section : kSections)
        names.push_back(section.name);
    std::vector<std::string> chosen = names;
    int num_layers = 20;
    CLI::App app("Prints what is published about placement: a few tables per section.");
    app.add_option("section", chosen, "what to print; default: all")->check(CLI::IsMember(names));
    app.add_option("--layers", num_layers, "how many layers the synthetic iterations have, of 58")
        ->check(CLI::Range(1, kScenarioLayers))
        ->capture_default_str();
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    eplb::ThreadPool threads;
    for (const Section& section : kSections)
        if (std::find(chosen.begin(), chosen.end(), section.name) != chosen.end())
            section.run({threads, num_layers});
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "bench_placement: error: %s\n", error.what());
        return 1;
    }
}
