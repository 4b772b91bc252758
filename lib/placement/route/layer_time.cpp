#include "lib/placement/route/layer_time.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "lib/base/error.h"
#include "lib/base/not_known.h"
#include "lib/base/sum.h"
#include "lib/placement/route/load_summary.h"

namespace eplb {
namespace {

double mean_of_known(const std::vector<double>& values) {
    double sum = 0;
    int count = 0;
    for (const double value : values)
        if (!std::isnan(value)) {
            sum += value;
            ++count;
        }
    return count > 0 ? sum / count : 0;
}

}  // namespace

LayerTimes layer_times(const LayerLoad& slot_load, int ep_size, const LayerCost& cost) {
    if (ep_size < 1 || slot_load.num_bins % ep_size != 0)
        throw Error("ep_size " + std::to_string(ep_size) + " does not divide the " +
                    std::to_string(slot_load.num_bins) + " slots");
    const int slots_per_rank = slot_load.num_bins / ep_size;
    LayerTimes times;
    for (std::vector<double>* const figure :
         {&times.slowest_us, &times.mean_us, &times.weights_share, &times.active_slots,
          &times.balanced_us})
        figure->assign(slot_load.num_iterations, kNotKnown);
    for (int i = 0; i < slot_load.num_iterations; ++i) {
        const std::span<const double> slots = slot_load.iteration(i);
        const double total = sum_of(slots);
        if (total == 0)
            continue;
        RankTime slowest;
        double sum_us = 0;
        for (int rank = 0; rank < ep_size; ++rank) {
            const RankTime time =
                rank_time(cost, slots.subspan(rank * slots_per_rank, slots_per_rank));
            sum_us += time.time_us;
            if (rank == 0 || time.time_us > slowest.time_us)
                slowest = time;
        }
        times.slowest_us[i] = slowest.time_us;
        times.mean_us[i] = sum_us / ep_size;
        // no launch and no rows: nothing is read
        times.weights_share[i] = slowest.time_us > 0 ? slowest.reading_us / slowest.time_us : 0;
        times.active_slots[i] = slowest.active_slots;
        times.balanced_us[i] =
            cost.launch_us + slots_per_rank * cost.slot_us(total / slot_load.num_bins);
    }
    return times;
}

LayerTimeSummary summarize(const LayerTimes& times) {
    LayerTimeSummary summary;
    std::vector<double> sorted;
    for (const double time : times.slowest_us)
        if (!std::isnan(time))
            sorted.push_back(time);
    std::sort(sorted.begin(), sorted.end());
    summary.num_iterations = static_cast<int>(sorted.size());
    summary.time_us = mean_of_known(times.slowest_us);
    summary.time_us_p99 = percentile(sorted, 99);
    summary.mean_rank_time_us = mean_of_known(times.mean_us);
    summary.weights_share = mean_of_known(times.weights_share);
    summary.active_experts = mean_of_known(times.active_slots);
    summary.balanced_time_us = mean_of_known(times.balanced_us);
    return summary;
}

std::vector<double> summed_times(const std::vector<LayerTimes>& layers) {
    if (layers.empty())
        return {};
    std::vector<double> sums(layers.front().num_iterations(), kNotKnown);
    for (const LayerTimes& layer : layers)
        for (int i = 0; i < layer.num_iterations(); ++i) {
            const double time = layer.slowest_us[i];
            if (!std::isnan(time))
                sums[i] = (std::isnan(sums[i]) ? 0 : sums[i]) + time;
        }
    return sums;
}

}  // namespace eplb
