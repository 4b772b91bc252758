#include "lib/report/views/held_out.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/base/text.h"
#include "lib/placement/route/replica_replay.h"

namespace eplb {
namespace {

ExpertStatistics iterations_of(const ExpertStatistics& statistics, const IterationRange& range) {
    const std::int64_t per_iteration =
        std::int64_t{statistics.num_layers()} * statistics.num_sources * statistics.num_experts;
    const auto begin =
        statistics.counts.begin() + (range.start - statistics.iter_start) * per_iteration;
    ExpertStatistics part;
    part.num_experts = statistics.num_experts;
    part.top_k = statistics.top_k;
    part.ep_size = statistics.ep_size;
    part.layers = statistics.layers;
    part.iter_start = range.start;
    part.num_iterations = static_cast<int>(range.stop - range.start);
    part.num_sources = statistics.num_sources;
    part.has_unknown_sources = statistics.has_unknown_sources;
    part.ids = statistics.ids;
    part.counts = {begin, begin + part.num_iterations * per_iteration};
    return part;
}

void check_alike(const HeldOutPart& fit, const HeldOutPart& test) {
    for (const HeldOutPart* const part : {&fit, &test})
        if (part->statistics->ids == IdKind::slot)
            throw Error(part->name +
                        ": holds slot ids, and a placement is fitted to experts; give the yaml "
                        "that was in force with " +
                        setting("load_balancer"));
    const int num_experts = test.statistics->num_experts;
    if (fit.statistics->num_experts != num_experts)
        throw Error(test.name + ": has " + counted(num_experts, "expert") + ", but " + fit.name +
                    " has " + std::to_string(fit.statistics->num_experts) +
                    "; give recordings of the same model");
    if (fit.statistics->layers != test.statistics->layers)
        throw Error(test.name + ": has other layers than " + fit.name +
                    "; choose some that both have with " + setting("layers"));
}

// Under placements; exact where the source ranks' counts tell it.
Subject under(const ExpertStatistics& statistics,
              const std::string& name,
              const std::vector<Placement>& placements,
              ThreadPool& threads) {
    ReplicaReplay replay(placements, statistics.num_experts, statistics.iter_start,
                         statistics.num_iterations);
    if (statistics.num_sources != statistics.ep_size)
        return projected_subject(statistics, name, placements);
    for (int i = 0; i < statistics.num_iterations; ++i)
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            for (int source = 0; source < statistics.num_sources; ++source)
                replay.add_counts(statistics.iter_start + i, layer, source,
                                  statistics.row(i, layer, source));
    return replayed_subject(statistics, recorded_loads(statistics, threads), name, replay, threads);
}

}  // namespace

HeldOut plan_held_out(const HeldOutPart& fit,
                      const HeldOutPart& test,
                      const Subject& unbalanced,
                      const PlanRequest& request,
                      ThreadPool& threads) {
    check_alike(fit, test);
    const ExpertStatistics fit_part = iterations_of(*fit.statistics, fit.range);
    const ExpertStatistics test_part = iterations_of(*test.statistics, test.range);
    if (std::all_of(fit_part.counts.begin(), fit_part.counts.end(),
                    [](std::int64_t count) { return count == 0; }))
        throw Error(fit.name + ": holds no tokens in iterations " + range_text(fit.range) +
                    ", so that there is nothing to fit to; choose others with " + setting("fit"));
    const std::vector<Placement> placements = plan(fit_part, request, threads);
    PlanRequest greedy = request;
    greedy.algorithm = Algorithm::greedy;
    HeldOut result;
    result.placement = "eplb-gen's placement";
    result.unbalanced = iterations_of(unbalanced, test.range);
    result.fitted = under(fit_part, fit.name, placements, threads);
    result.held_out = under(test_part, test.name, placements, threads);
    result.greedy = under(test_part, test.name, plan(fit_part, greedy, threads), threads);
    return result;
}

}  // namespace eplb
