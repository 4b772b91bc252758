#include "lib/placement/route/layer_time.h"

#include <algorithm>
#include <cmath>

#include "lib/base/not_known.h"
#include "lib/base/sum.h"
#include "lib/placement/route/load_summary.h"

namespace eplb {
LayerTimes layer_times(const LayerLoad& slot_load, int ep_size, const LayerCost& cost) {
    const int slots_per_rank = bins_per_rank(slot_load, ep_size);
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
    if (sorted.empty())
        return summary;
    std::sort(sorted.begin(), sorted.end());
    summary.num_iterations = static_cast<int>(sorted.size());
    summary.time_us = mean_of(times.slowest_us);
    summary.time_us_p99 = percentile(sorted, 99);
    summary.mean_rank_time_us = mean_of(times.mean_us);
    summary.weights_share = mean_of(times.weights_share);
    summary.active_experts = mean_of(times.active_slots);
    summary.balanced_time_us = mean_of(times.balanced_us);
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
