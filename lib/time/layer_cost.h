#ifndef EPLB_TIME_LAYER_COST_H
#define EPLB_TIME_LAYER_COST_H

#include <algorithm>
#include <span>

#include "lib/time/time_profile.h"

// How long a rank takes for its experts in one MoE layer and iteration:
//
//     T = t0 + sum over its slots with n > 0 rows of max(w, c * n)
//
// A slot's weights are read once, however few rows it has; from the knee, w / c rows, on,
// arithmetic takes longer than that. The model is a roofline per expert (Williams, Waterman,
// Patterson 2009); docs/time.md says how near measurements it comes. It knows no overlap between
// slots, no communication, and one kernel.
namespace eplb {

// One routed expert as work for a GPU.
struct ExpertWork {
    double bytes = 0;         // of its weights, scales included
    double flop_per_row = 0;  // a product and a sum for each weight
};

// Three matrices of hidden_size x intermediate_size. bytes_per_weight includes scales: 1 + 4 /
// 16384 for FP8 with a float per block of 128 x 128.
ExpertWork expert_work(int hidden_size, int intermediate_size, double bytes_per_weight);

// Microseconds, on one GPU, for experts of one shape.
struct LayerCost {
    double launch_us =
        0;               // t0: also of a rank without rows, whose kernels are launched all the same
    double read_us = 0;  // w
    double row_us = 0;   // c

    double knee() const { return read_us / row_us; }  // rows

    // Rows are whole numbers where they were recorded or replayed. A share that is not (each
    // replica an equal part of its expert's rows) stands for the two whole numbers beside it, in
    // the proportion that has this mean: that is what dealing rows out in turn gives. So half a row
    // costs half a reading, as in every other iteration; a whole one for each of eight replicas
    // that share one row would be eight times what happens. Between whole numbers from 1 on the
    // line is the formula itself (beside the knee, where the exact one lies above by less than c /
    // 4).
    double slot_us(double rows) const {
        return std::max(read_us * std::min(rows, 1.0), row_us * rows);
    }
};

LayerCost layer_cost(const TimeProfile& profile, const ExpertWork& work);

// With the profile that it came from.
struct GpuCost {
    TimeProfile profile;
    LayerCost cost;
};

// One rank, layer and iteration.
struct RankTime {
    double time_us = 0;
    double reading_us = 0;    // of it, for slots whose weights take longer to read than their rows
                              // to compute
    double active_slots = 0;  // with rows; a share of a row counts as such (slot_us)
};

// rows: [slots of the rank], 0 or more each.
RankTime rank_time(const LayerCost& cost, std::span<const double> rows);

}  // namespace eplb

#endif
