#include <limits>
#include <utility>

#include "lib/placement/route/load_summary.h"
#include "lib/report/views/views.h"

namespace eplb {
namespace {

// One layer's figures of one iteration, as if it were all there is.
LoadSummary summary_of(const LayerLoad& load, int iteration) {
    const std::span<const double> bins = load.iteration(iteration);
    return summarize({1, load.num_bins, {bins.begin(), bins.end()}});
}

}  // namespace

Table iteration_table(const Subject& subject, Bins bins, ThreadPool& threads) {
    const auto num_iterations = static_cast<std::size_t>(subject.num_iterations);
    const auto num_layers = subject.layers.size();
    std::vector<LoadSummary> summaries(num_iterations * num_layers);  // [iterations][layers]
    threads.for_each(subject.num_layers(), [&](std::int64_t index) {
        const auto layer = static_cast<std::size_t>(index);
        const LayerLoad load = bins_of(subject, static_cast<int>(index), bins);
        for (std::size_t i = 0; i < num_iterations; ++i)
            summaries[i * num_layers + layer] = summary_of(load, static_cast<int>(i));
    });

    Table table;
    table.title = "Iterations:";
    table.columns = {{"iteration", "iteration"},
                     {"mean", "mean"},
                     {"std", "std"},
                     {"imbalance_ratio", "imbalance-ratio"},
                     {"balancedness", "balancedness", 3},
                     {"worst_layer", "worst-layer"},
                     {"worst_imbalance_ratio", "its-imbalance-ratio"}};
    for (std::size_t i = 0; i < num_iterations; ++i) {
        const std::span<const LoadSummary> layers =
            std::span(summaries).subspan(i * num_layers, num_layers);
        std::size_t worst = num_layers;
        for (std::size_t layer = 0; layer < num_layers; ++layer)
            if (layers[layer].num_iterations > 0 &&
                (worst == num_layers ||
                 layers[layer].imbalance_ratio > layers[worst].imbalance_ratio))
                worst = layer;
        const auto id = subject.iter_start + static_cast<std::int64_t>(i);
        if (worst == num_layers) {
            constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
            table.rows.push_back({id, kNone, kNone, kNone, kNone, Cell(), kNone});
            continue;
        }
        const LoadSummary mean = average(layers);
        table.rows.push_back({id, mean.mean, mean.std, mean.imbalance_ratio, mean.balancedness,
                              static_cast<std::int64_t>(subject.layers[worst]),
                              layers[worst].imbalance_ratio});
    }
    describe_subject(table, subject, bins);
    table.notes.push_back("Over the " + bin_name(subject, bins) +
                          "s of a layer, then averaged over those of " +
                          std::to_string(num_layers) + (num_layers == 1 ? " layer" : " layers") +
                          " that have tokens.");
    describe_split(table, subject);
    return table;
}

}  // namespace eplb
