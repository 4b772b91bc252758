#ifndef EPLB_REPORT_TIMED_SUBJECT_H
#define EPLB_REPORT_TIMED_SUBJECT_H

#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/route/layer_time.h"
#include "lib/report/subject.h"

namespace eplb {

// What the experts of a subject take. Vectors of layers are in the order of the subject's.
struct TimedSubject {
    const Subject* subject = nullptr;
    GpuCost gpu;
    std::vector<LayerTimes> layers;
    std::vector<LayerTimeSummary> summaries;

    // [num_iterations]: all layers one after another (summed_times())
    std::vector<double> iteration_us;
    // Over the iterations that have tokens; NaN where none has.
    double mean_us = 0;
    double p99_us = 0;
    // The same were the tokens spread evenly over all slots.
    double balanced_us = 0;

    // Tokens, not routed ids, that a rank brings to an iteration; NaN where top_k is not known.
    double tokens_per_rank = 0;
    // What a GPU gets through where it does nothing but compute these layers' experts; NaN
    // likewise.
    double tokens_per_second_per_gpu() const;

    bool has_tokens() const;
    // Of a layer that the subject has, by its id.
    int position_of(int layer_id) const;
    // The layer that takes longest, the lowest id of several, as a position; some layer has tokens.
    int slowest_layer() const;
};

// The subject must outlive it. top_k: the model's, where the recording does not say; 0: not known.
TimedSubject time_subject(const Subject& subject,
                          const GpuCost& gpu,
                          int top_k,
                          ThreadPool& threads);

}  // namespace eplb

#endif
