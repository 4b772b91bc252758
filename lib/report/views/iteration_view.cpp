#include <array>

#include "lib/base/grid.h"
#include "lib/base/not_known.h"
#include "lib/base/text.h"
#include "lib/placement/route/load_summary.h"
#include "lib/report/views/views.h"

namespace eplb {

Table iteration_table(const Subject& subject, Bins bins, ThreadPool& threads) {
    const std::array<int, 2> sizes = {subject.num_iterations, subject.num_layers()};
    std::vector<LoadSummary> values(Grid<LoadSummary, 2>::num_values(sizes));
    const Grid<LoadSummary, 2> summaries(values, sizes);  // [iterations][layers]
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        const LayerLoad load = bins_of(subject, static_cast<int>(layer), bins);
        for (int i = 0; i < subject.num_iterations; ++i)
            summaries(i, layer) = summarize(load.part(i, 1));
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
    for (int i = 0; i < subject.num_iterations; ++i) {
        const std::span<const LoadSummary> layers = summaries.row(i);
        int worst = -1;  // none has tokens
        for (int layer = 0; layer < subject.num_layers(); ++layer)
            if (layers[layer].num_iterations > 0 &&
                (worst < 0 || layers[layer].imbalance_ratio > layers[worst].imbalance_ratio))
                worst = layer;
        const std::int64_t id = subject.iter_start + i;
        if (worst < 0) {
            table.rows.push_back(
                {id, kNotKnown, kNotKnown, kNotKnown, kNotKnown, Cell(), kNotKnown});
            continue;
        }
        const LoadSummary mean = average(layers);
        table.rows.push_back({id, mean.mean, mean.std, mean.imbalance_ratio, mean.balancedness,
                              subject.layers[worst], layers[worst].imbalance_ratio});
    }
    describe_subject(table, subject, bins);
    table.notes.emplace_back("Over the " + bin_name(subject, bins) +
                             "s of a layer, then averaged over those of " +
                             counted(subject.num_layers(), "layer") + " that have tokens.");
    describe_split(table, subject);
    return table;
}

}  // namespace eplb
