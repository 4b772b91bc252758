#include "tools/time_options.h"

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/model/expert_size.h"
#include "lib/time/time_profile_json.h"
#include "tools/cli.h"

namespace eplb::cli {

void add_time_options(CLI::App& app, TimeOptions& options) {
    std::vector<std::pair<std::string, TimeProfile>> gpus;
    for (const TimeProfile& profile : built_in_profiles())
        gpus.emplace_back(profile.name, profile);
    add_choice(app, "--gpu", options.gpu, gpus,
               "Speak of microseconds: what the experts take on this GPU with FP8 weights");
    app.add_option(flag("time_profile"), options.time_profile,
                   "The same on a GPU of one's own: a file that --fit_time_profile made")
        ->type_name("FILE")
        ->check(not_empty());
    app.add_option(flag("hidden_size"), options.hidden_size,
                   "Of the experts that are timed, where no --model_config says")
        ->type_name("N")
        ->check(positive());
    app.add_option(flag("intermediate_size"), options.intermediate_size,
                   "Likewise: the width of one expert")
        ->type_name("N")
        ->check(positive());
    app.add_option(flag("bytes_per_weight"), options.bytes_per_weight,
                   "Likewise: 1 for FP8, 2 for BF16, 0.53 for MXFP4, with scales")
        ->type_name("BYTES")
        ->default_str("1, or as --model_config says")
        ->check(positive_real());
}

void check_time_options(const TimeOptions& options) {
    if (options.gpu && !options.time_profile.empty())
        throw UsageError("give --gpu or --time_profile, not both");
}

NamedExpert expert_of(const TimeOptions& options, const ModelOption& model) {
    int hidden_size = options.hidden_size;
    int intermediate_size = options.intermediate_size;
    double bytes_per_weight = options.bytes_per_weight;
    std::string dtype;
    const bool has_sizes = hidden_size > 0 && intermediate_size > 0;
    if (!has_sizes && !model.is_given())
        throw UsageError(
            "the time of an expert depends on its shape: give --model_config, or --hidden_size and "
            "--intermediate_size");
    if (model.is_given() && !(has_sizes && bytes_per_weight > 0)) {
        try {
            const ExpertSize size = expert_size(model.json());
            hidden_size = hidden_size > 0 ? hidden_size : size.hidden_size;
            intermediate_size = intermediate_size > 0 ? intermediate_size : size.intermediate_size;
            if (bytes_per_weight == 0) {
                bytes_per_weight = size.bytes_per_weight;
                dtype = size.dtype;
            }
        } catch (const Error& error) {
            throw Error(std::string(error.what()) +
                        "; give --hidden_size, --intermediate_size and --bytes_per_weight instead");
        }
    }
    if (bytes_per_weight == 0)
        bytes_per_weight = 1;
    return {expert_work(hidden_size, intermediate_size, bytes_per_weight), dtype};
}

GpuCost gpu_cost(const Output& out, const TimeOptions& options, const ModelOption& model) {
    const NamedExpert expert = expert_of(options, model);
    const TimeProfile profile =
        options.gpu ? *options.gpu
                    : parse_time_profile(read_file(options.time_profile), options.time_profile);
    if (!expert.dtype.empty() && !profile.dtype.empty() && expert.dtype != profile.dtype)
        out.warn("the profile " + profile.name + " was measured with " + profile.dtype +
                 " weights, those of " + model.path + " are " + expert.dtype +
                 ": what a row takes may be far off; --fit_time_profile makes a profile of them");
    return {profile, layer_cost(profile, expert.work)};
}

}  // namespace eplb::cli
