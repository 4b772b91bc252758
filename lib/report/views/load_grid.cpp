#include "lib/report/views/load_grid.h"

#include <algorithm>
#include <numeric>

#include "lib/report/text/picture_text.h"

namespace eplb {
namespace {

GridRow row_of(const Subject& subject, int layer, Bins bins) {
    const LayerLoad load = bins_of(subject, layer, bins);
    GridRow row;
    row.layer = subject.layers[layer];
    row.load = bin_totals(load);
    row.mean = std::accumulate(row.load.begin(), row.load.end(), 0.0) / load.num_bins;
    row.summary = summarize(load);
    row.imbalance_ratios = imbalance_ratios(load);
    return row;
}

}  // namespace

double GridRow::relative(int bin) const {
    return has_tokens() ? load[bin] / mean : 0;
}

const GridRow* LoadGrid::worst() const {
    const GridRow* result = nullptr;
    for (const GridRow& row : rows)
        if (row.has_tokens() &&
            (result == nullptr || row.summary.imbalance_ratio > result->summary.imbalance_ratio))
            result = &row;
    return result;
}

std::string LoadGrid::ratio_text(const LoadSummary& summary) const {
    if (summary.num_iterations == 0)
        return "no tokens";
    return fixed(summary.imbalance_ratio, worst()->summary.imbalance_ratio < 1 ? 3 : 2);
}

LoadGrid load_grid(const Subject& subject, Bins bins, ThreadPool& threads) {
    LoadGrid grid;
    grid.bin_name = bin_name(subject, bins);
    grid.num_bins = bins == Bins::ranks ? subject.ep_size : subject.num_slots();
    grid.rows.resize(subject.layers.size());
    threads.for_each(subject.num_layers(), [&](std::int64_t layer) {
        grid.rows[layer] = row_of(subject, static_cast<int>(layer), bins);
    });
    std::vector<LoadSummary> summaries;
    for (const GridRow& row : grid.rows)
        summaries.push_back(row.summary);
    grid.average = average(summaries);
    return grid;
}

int heat_level(double relative, int num_levels) {
    // a load that equals the mean but for rounding belongs above the line between two levels
    constexpr double kRounding = 1e-9;
    const double part = relative / kHottest * num_levels + kRounding;
    return static_cast<int>(std::clamp(part, 0.0, num_levels - 1.0));
}

}  // namespace eplb
