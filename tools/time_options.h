#ifndef EPLB_TOOLS_TIME_OPTIONS_H
#define EPLB_TOOLS_TIME_OPTIONS_H

#include <optional>
#include <string>

#include "lib/time/layer_cost.h"
#include "tools/output.h"
#include "tools/statistics_options.h"

// What turns tokens into microseconds, as it is given on the command line.
namespace eplb::cli {

struct TimeOptions {
    std::optional<TimeProfile> gpu;  // a built-in profile
    std::string time_profile;        // or a file

    // the experts' shape, where the model's config.json does not say; 0: not given
    int hidden_size = 0;
    int intermediate_size = 0;
    double bytes_per_weight = 0;

    bool has_profile() const { return gpu || !time_profile.empty(); }
};

void add_time_options(CLI::App& app, TimeOptions& options);

// UsageError for two profiles.
void check_time_options(const TimeOptions& options);

// One expert, and the type of its weights where it is known.
struct NamedExpert {
    ExpertWork work;
    std::string dtype;  // empty: not known
};

// Of the options, and of the model for what they leave open. UsageError, or Error where the model's
// config.json does not say.
NamedExpert expert_of(const TimeOptions& options, const ModelOption& model);

// The profile and what it comes to for the experts; one must be given. Warns where the weights are
// of another type than those measured.
GpuCost gpu_cost(const Output& out, const TimeOptions& options, const ModelOption& model);

}  // namespace eplb::cli

#endif
