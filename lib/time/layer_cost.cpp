#include "lib/time/layer_cost.h"

namespace eplb {
namespace {

constexpr double kMicrosecondsPerSecond = 1e6;  // in a second
constexpr double kMatrices = 3;                 // gate, up and down projections

}  // namespace

ExpertWork expert_work(int hidden_size, int intermediate_size, double bytes_per_weight) {
    const double num_weights = kMatrices * hidden_size * intermediate_size;
    return {num_weights * bytes_per_weight, 2 * num_weights};
}

LayerCost layer_cost(const TimeProfile& profile, const ExpertWork& work) {
    return {profile.t0_us, work.bytes / profile.bytes_per_second * kMicrosecondsPerSecond,
            work.flop_per_row / profile.flop_per_second * kMicrosecondsPerSecond};
}

RankTime rank_time(const LayerCost& cost, std::span<const double> rows) {
    RankTime rank;
    rank.time_us = cost.launch_us;
    for (const double slot : rows) {
        const double slot_us = cost.slot_us(slot);
        const double active = std::min(slot, 1.0);
        rank.time_us += slot_us;
        rank.active_slots += active;
        if (cost.row_us * slot < cost.read_us * active)
            rank.reading_us += slot_us;
    }
    return rank;
}

}  // namespace eplb
