#include "tools/report_time.h"

#include <cmath>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/report/views/time_table.h"
#include "lib/statistics/selection.h"
#include "lib/statistics/thinning.h"

namespace eplb {
namespace {

// Enough to see how far draws are apart.
constexpr int kNumDraws = 5;

// A subject with another batch.
struct Batch {
    Thinned thinned;
    Subject subject;
};

Thinned thin(const ReportInput& input, const ThinningRequest& request, ThreadPool& threads) {
    if (!input.routed || !has_tokens_in_all_layers(*input.routed))
        return thin_counts(input.statistics, request, input.path, threads);
    Thinned thinned =
        thin_tokens(*input.routed, input.statistics.num_experts, request, input.path, threads);
    keep_layers(thinned.statistics, input.statistics.layers, input.path);
    return thinned;
}

Batch draw_batch(const ViewInput& view, const ReportInput& input, const Subject& subject) {
    ThinningRequest request;
    request.tokens_per_iteration = std::int64_t{view.options.tokens_per_rank} * subject.ep_size;
    request.top_k = subject.top_k > 0 ? subject.top_k : view.model_top_k;
    request.num_draws = kNumDraws;
    if (request.top_k == 0)
        throw Error(input.path +
                    ": does not say how many experts a token takes, which --tokens_per_rank has to "
                    "know; give --model_config");
    Batch batch;
    batch.thinned = thin(input, request, view.measurements.threads());
    const ExpertStatistics& statistics = batch.thinned.statistics;
    batch.subject = subject.knows_experts()
                        ? projected_subject(statistics, subject.name, subject.placements)
                        : recorded_subject(statistics, subject.name, subject.ep_size);
    if (subject.split == ReplicaSplit::recorded && batch.subject.split == ReplicaSplit::none)
        batch.subject.split = ReplicaSplit::recorded;  // no config was applied
    return batch;
}

const Subject& last_subject(const ReportInput& input) {
    return input.projected.empty() ? input.recorded : input.projected.back();
}

}  // namespace

ViewResult make_time(const ViewInput& input) {
    const Subject& subject = input.subject();
    if (input.options.tokens_per_rank == 0) {
        const TimedSubject timed = input.timed(subject);
        return {.table = time_table(timed), .time_us = timed.mean_us};
    }
    const Batch batch = draw_batch(input, input.inputs.front(), subject);
    const TimedBatch drawn = {&subject, &batch.thinned, input.options.tokens_per_rank};
    const TimedSubject timed = input.timed(batch.subject);
    return {.table = time_table(timed, &drawn), .time_us = timed.mean_us};
}

void check_max_time(const ViewInput& input, const ViewResult& result) {
    const double limit = *input.options.max_time;
    const double time_us =
        result.time_us ? *result.time_us : input.timed(last_subject(input.inputs.back())).mean_us;
    if (std::isnan(time_us))
        throw Error("--max_time: nothing was measured, no iteration has tokens");
    if (time_us > limit)
        throw GateError("--max_time " + formatted("%.6g", limit) +
                        ": the experts of all MoE layers take " + formatted("%.6g", time_us) +
                        " us an iteration; place them anew with eplb-gen, or change the batch");
}

}  // namespace eplb
