#ifndef EPLB_TOOLS_GEN_INPUTS_H
#define EPLB_TOOLS_GEN_INPUTS_H

#include <optional>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/plan/planner.h"
#include "lib/placement/route/recorded_under.h"
#include "tools/gen_options.h"
#include "tools/output.h"

namespace eplb {

// The statistics that a plan is fitted to, and what Workload points into.
struct GenInputs {
    std::vector<ExpertStatistics> statistics;
    // The same as recorded, where layers were left out of them; else empty.
    std::vector<ExpertStatistics> recorded;
    std::vector<ExpertCooccurrence> cooccurrence;  // [statistics], or none
    std::optional<RecordedUnder> under;            // of the first

    std::vector<Workload> workloads(const std::vector<double>& weights) const {
        std::vector<Workload> workloads;
        for (std::size_t i = 0; i < statistics.size(); ++i)
            workloads.push_back({&statistics[i], weights.empty() ? 1.0 : weights[i],
                                 cooccurrence.empty() ? nullptr : &cooccurrence[i]});
        return workloads;
    }
};

GenInputs read_inputs(const cli::Output& out, const GenOptions& options, ThreadPool& threads);

// The ranks of the deployment, by --ep_size, the config in force or the recording.
int ep_size_of(const GenOptions& options,
               const GenInputs& inputs,
               const std::optional<EngineConfig>& current);

// The config in force, if one is named. Sets what `context` lacks and the statistics, or the
// config, tell.
std::optional<EngineConfig> read_in_force(const cli::Output& out,
                                          const GenOptions& options,
                                          const GenInputs& inputs,
                                          ConfigContext& context);

// Layers that the config to be written has no place for: nothing is spent on them. They are the
// last ones, so that positions of layers stay as they were.
void leave_out_mtp_layers(const cli::Output& out,
                          const GenOptions& options,
                          const ConfigContext& context,
                          GenInputs& inputs);

// By --bytes_per_expert or the model's config.json; 0: neither is given.
double bytes_per_expert_of(const GenOptions& options);

}  // namespace eplb

#endif
