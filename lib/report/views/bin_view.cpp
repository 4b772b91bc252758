#include <algorithm>
#include <numeric>
#include <utility>

#include "lib/base/error.h"
#include "lib/report/views/views.h"

namespace eplb {
namespace {

struct Bin {
    double tokens = 0;
    double load = 0;  // sum over layers
    double max_load = 0;
    std::size_t worst_layer = 0;
    std::int64_t times_fullest = 0;
};

// Of one layer: tokens over all iterations, and in how many each bin is the fullest.
struct LayerBins {
    std::vector<double> tokens;
    std::vector<std::int64_t> times_fullest;
    std::int64_t num_iterations = 0;  // with tokens
};

LayerBins count(const LayerLoad& load) {
    const auto num_bins = static_cast<std::size_t>(load.num_bins);
    LayerBins bins{std::vector<double>(num_bins), std::vector<std::int64_t>(num_bins), 0};
    for (int i = 0; i < load.num_iterations; ++i) {
        const std::span<const double> iteration = load.iteration(i);
        const auto fullest = std::max_element(iteration.begin(), iteration.end());
        if (*fullest == 0)
            continue;
        ++bins.num_iterations;
        ++bins.times_fullest[fullest - iteration.begin()];
        for (std::size_t bin = 0; bin < num_bins; ++bin)
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
    std::vector<Bin> sums(layers.front().tokens.size());
    std::int64_t num_pairs = 0;  // of iteration and layer
    int num_layers = 0;
    double all_tokens = 0;
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        const LayerBins& counted = layers[layer];
        if (counted.num_iterations == 0)
            continue;
        const double total = std::accumulate(counted.tokens.begin(), counted.tokens.end(), 0.0);
        num_pairs += counted.num_iterations;
        all_tokens += total;
        ++num_layers;
        for (std::size_t bin = 0; bin < sums.size(); ++bin) {
            const double load = counted.tokens[bin] / total * static_cast<double>(sums.size());
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
    for (std::size_t bin = 0; bin < sums.size(); ++bin)
        table.rows.push_back(
            {static_cast<std::int64_t>(bin), sums[bin].tokens / static_cast<double>(num_pairs),
             sums[bin].tokens / all_tokens, sums[bin].load / num_layers, sums[bin].max_load,
             static_cast<std::int64_t>(subject.layers[sums[bin].worst_layer]),
             static_cast<double>(sums[bin].times_fullest) / static_cast<double>(num_pairs)});
    describe_subject(table, subject, bins);
    table.notes.push_back("Mean: tokens per layer and iteration; load: tokens / mean over " + name +
                          "s, summed over iterations " + std::to_string(subject.iter_start) + "-" +
                          std::to_string(subject.iter_stop()) + ", mean and max over layers.");
    table.notes.push_back("Fullest: share of pairs of layer and iteration in which it has most.");
    describe_split(table, subject);
    return table;
}

Table expert_table(const Subject& subject) {
    if (!subject.knows_experts())
        throw Error(subject.name +
                    ": holds slot ids, and which experts they were is not known; give the yaml "
                    "that was in force with --load_balancer");
    Table table;
    table.title = "Experts:";
    table.columns = {{"layer", "layer"},    {"expert", "expert"}, {"tokens", "tokens"},
                     {"share", "share", 5}, {"load", "load", 3},  {"replicas", "replicas"},
                     {"ranks", "ranks"}};
    for (std::size_t layer = 0; layer < subject.layers.size(); ++layer) {
        const Placement& placement = subject.placements[layer];
        const auto num_experts = static_cast<std::size_t>(subject.num_experts);
        const std::vector<double> tokens = bin_totals(subject.expert_load[layer]);
        const double total = std::accumulate(tokens.begin(), tokens.end(), 0.0);
        std::vector<std::int64_t> replicas(num_experts);
        std::vector<IntegerList> ranks(num_experts);  // each once, ascending
        for (std::size_t slot = 0; slot < placement.expert_ids.size(); ++slot) {
            const auto expert = static_cast<std::size_t>(placement.expert_ids[slot]);
            const auto rank =
                static_cast<std::int64_t>(slot) / std::int64_t{placement.slots_per_rank};
            ++replicas[expert];
            if (ranks[expert].empty() || ranks[expert].back() != rank)
                ranks[expert].push_back(rank);
        }
        for (std::size_t expert = 0; expert < num_experts; ++expert) {
            const double share = total > 0 ? tokens[expert] / total : 0;
            table.rows.push_back(
                {static_cast<std::int64_t>(subject.layers[layer]),
                 static_cast<std::int64_t>(expert), static_cast<std::int64_t>(tokens[expert]),
                 share, share * static_cast<double>(num_experts), replicas[expert], ranks[expert]});
        }
    }
    describe_subject(table, subject, Bins::ranks);
    table.notes.push_back("Tokens over iterations " + std::to_string(subject.iter_start) + "-" +
                          std::to_string(subject.iter_stop()) +
                          "; load: tokens / mean over the layer's experts.");
    return table;
}

}  // namespace eplb
