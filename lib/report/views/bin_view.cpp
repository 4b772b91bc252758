#include <algorithm>
#include <numeric>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/report/views/views.h"

namespace eplb {
namespace {

struct Bin {
    double tokens = 0;
    double load = 0;  // sum over layers
    double max_load = 0;
    int worst_layer = 0;  // position
    double times_fullest = 0;
};

// Of one layer: tokens over all iterations, and in how many each bin is the fullest.
struct LayerBins {
    std::vector<double> tokens;
    std::vector<int> times_fullest;
    int num_iterations = 0;  // with tokens
};

LayerBins count(const LayerLoad& load) {
    LayerBins bins{std::vector<double>(load.num_bins), std::vector<int>(load.num_bins), 0};
    for (int i = 0; i < load.num_iterations; ++i) {
        const std::span<const double> iteration = load.iteration(i);
        const auto fullest = std::max_element(iteration.begin(), iteration.end());
        if (*fullest == 0)
            continue;
        ++bins.num_iterations;
        ++bins.times_fullest[fullest - iteration.begin()];
        for (int bin = 0; bin < load.num_bins; ++bin)
            bins.tokens[bin] += iteration[bin];
    }
    return bins;
}

}  // namespace

Table bin_table(const Subject& subject, Bins bins, ThreadPool& threads) {
    std::vector<LayerBins> layers(subject.layers.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        layers[layer] = count(bins_of(subject, static_cast<int>(layer), bins));
    });
    const int num_bins = eplb::num_bins(subject, bins);
    std::vector<Bin> sums(num_bins);
    double num_pairs = 0;  // of iteration and layer
    int num_layers = 0;
    double all_tokens = 0;
    for (int layer = 0; layer < subject.num_layers(); ++layer) {
        const LayerBins& counted = layers[layer];
        if (counted.num_iterations == 0)
            continue;
        const double total = std::accumulate(counted.tokens.begin(), counted.tokens.end(), 0.0);
        num_pairs += counted.num_iterations;
        all_tokens += total;
        ++num_layers;
        for (int bin = 0; bin < num_bins; ++bin) {
            const double load = counted.tokens[bin] / total * num_bins;
            sums[bin].tokens += counted.tokens[bin];
            sums[bin].load += load;
            sums[bin].times_fullest += counted.times_fullest[bin];
            if (load > sums[bin].max_load) {
                sums[bin].max_load = load;
                sums[bin].worst_layer = layer;
            }
        }
    }

    const std::string name = bin_name(subject, bins);
    Table table;
    table.title = "Load of " + name + "s:";
    table.columns = {{name, name},
                     {"mean", "mean", 1},
                     {"share", "share", 5},
                     {"load", "load", 3},
                     {"max_load", "max-load", 3},
                     {"worst_layer", "worst-layer"},
                     {"fullest", "fullest", 3}};
    for (int bin = 0; bin < num_bins; ++bin)
        table.rows.push_back({bin, sums[bin].tokens / num_pairs, sums[bin].tokens / all_tokens,
                              sums[bin].load / num_layers, sums[bin].max_load,
                              subject.layers[sums[bin].worst_layer],
                              sums[bin].times_fullest / num_pairs});
    describe_subject(table, subject, bins);
    table.notes.emplace_back("Mean: tokens per layer and iteration; load: tokens / mean over " +
                             name + "s, summed over iterations " +
                             range_text(subject.iterations()) + ", mean and max over layers.");
    table.notes.emplace_back(
        "Fullest: share of pairs of layer and iteration in which it has most.");
    describe_split(table, subject);
    return table;
}

Table expert_table(const Subject& subject) {
    if (!subject.knows_experts())
        throw Error(subject.name +
                    ": holds slot ids, and which experts they were is not known; give the yaml "
                    "that was in force with " +
                    setting("load_balancer"));
    Table table;
    table.title = "Experts:";
    table.columns = {{"layer", "layer"},    {"expert", "expert"}, {"tokens", "tokens"},
                     {"share", "share", 5}, {"load", "load", 3},  {"replicas", "replicas"},
                     {"ranks", "ranks"}};
    for (int layer = 0; layer < subject.num_layers(); ++layer) {
        const Placement& placement = subject.placements[layer];
        const std::vector<double> tokens = bin_totals(subject.expert_load[layer]);
        const double total = std::accumulate(tokens.begin(), tokens.end(), 0.0);
        std::vector<std::int64_t> replicas(subject.num_experts);
        std::vector<IntegerList> ranks(subject.num_experts);  // each once, ascending
        for (int slot = 0; slot < placement.num_slots(); ++slot) {
            const int expert = placement.expert_ids[slot];
            const int rank = slot / placement.slots_per_rank;
            ++replicas[expert];
            if (ranks[expert].empty() || ranks[expert].back() != rank)
                ranks[expert].push_back(rank);
        }
        for (int expert = 0; expert < subject.num_experts; ++expert) {
            const double share = total > 0 ? tokens[expert] / total : 0;
            table.rows.push_back({subject.layers[layer], expert,
                                  static_cast<std::int64_t>(tokens[expert]), share,
                                  share * subject.num_experts, replicas[expert], ranks[expert]});
        }
    }
    describe_subject(table, subject, Bins::ranks);
    table.notes.emplace_back("Tokens over iterations " + range_text(subject.iterations()) +
                             "; load: tokens / mean over the layer's experts.");
    return table;
}

}  // namespace eplb
