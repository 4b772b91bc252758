#include "tools/report_views.h"

#include <algorithm>
#include <cassert>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/report/views/views.h"
#include "tools/report_analysis.h"
#include "tools/report_time.h"
#include "tools/report_traffic.h"

namespace eplb {
namespace {

std::string refusal_of_several(const ReportOptions& options) {
    return options.expert_statistic_paths.size() > 1 || options.config_paths.size() > 1
               ? "looks at one recording, under one config at most; comparison takes several"
               : "";
}

Table layers_of(const ViewInput& input) {
    std::optional<TimedSubject> timed;
    if (input.gpu != nullptr && input.measurements.bins() == Bins::ranks)
        timed = input.timed(input.subject());
    return layer_table(input.measured(), input.measurements.threads(), timed ? &*timed : nullptr);
}

// The options of a view that speaks of time where a GPU is known, beside its own.
std::vector<std::string> with_time(std::vector<std::string> options) {
    for (const char* const option : {"gpu", "time_profile", "hidden_size", "intermediate_size",
                                     "bytes_per_weight", "max_time"})
        options.emplace_back(option);
    return options;
}

// In the order of --help.
std::vector<ReportView> all_views() {
    return {
        {.name = "layers",
         .help = "how uneven each layer is, its worst rank and what makes it hot",
         .options = with_time({"per_expert"}),
         .is_of_one_subject = true,
         .looks_at_ranks = true,
         .refusal = refusal_of_several,
         .make = [](const ViewInput& input) -> ViewResult {
             return {layers_of(input), {}};
         }},
        {.name = "ranks",
         .help = "how loaded each rank is, over all layers",
         .options = {"per_expert"},
         .is_of_one_subject = true,
         .looks_at_ranks = true,
         .refusal = refusal_of_several,
         .make = [](const ViewInput& input) -> ViewResult {
             return {bin_table(input.subject(), input.measurements.bins(),
                               input.measurements.threads()),
                     {}};
         }},
        {.name = "experts",
         .help = "tokens, replicas and ranks of each expert",
         .is_of_one_subject = true,
         .refusal = refusal_of_several,
         .make = [](const ViewInput& input) -> ViewResult {
             return {expert_table(input.subject()), {}};
         }},
        {.name = "iterations",
         .help = "how it changes with time",
         .options = {"per_expert"},
         .is_of_one_subject = true,
         .looks_at_ranks = true,
         .refusal = refusal_of_several,
         .make = [](const ViewInput& input) -> ViewResult {
             return {iteration_table(input.subject(), input.measurements.bins(),
                                     input.measurements.threads()),
                     {}};
         }},
        {.name = "percentiles",
         .help = "how it differs between layers",
         .options = {"per_expert"},
         .is_of_one_subject = true,
         .looks_at_ranks = true,
         .refusal = refusal_of_several,
         .make = [](const ViewInput& input) -> ViewResult {
             return {percentile_table(input.measured()), {}};
         }},
        {.name = "time",
         .help = "how many microseconds each layer's experts take on a GPU",
         .options = with_time({"tokens_per_rank"}),
         .is_of_one_subject = true,
         .looks_at_ranks = true,
         .needs_profile = true,
         .refusal = refusal_of_several,
         .make = make_time},
        {.name = "comparison",
         .help = "statistics side by side, or one under several configs",
         .options = with_time({"per_expert"}),
         .looks_at_ranks = true,
         .refusal = refusal_of_comparison,
         .make = make_comparison},
        {.name = "held_out",
         .help = "a placement on iterations, or traffic, that it was not fitted to",
         .options = with_time({"fit", "test", "num_slots", "min_speedup"}),
         .tests_placement = true,
         .refusal = refusal_of_held_out,
         .make = make_held_out},
        {.name = "drift",
         .help = "whether traffic has changed from one recording to another",
         .refusal = refusal_of_drift,
         .make = make_drift},
        {.name = "traffic",
         .help = "how many ranks and nodes a token goes to (needs routed ids)",
         .options = {"num_nodes", "bytes_per_token"},
         .is_of_one_subject = true,
         .looks_at_ranks = true,
         .refusal = refusal_of_several,
         .make = make_traffic},
        {.name = "rank_traffic",
         .help = "the same from rank to rank",
         .options = {"bytes_per_token"},
         .is_of_one_subject = true,
         .looks_at_ranks = true,
         .refusal = refusal_of_several,
         .make = make_rank_traffic},
        {.name = "faults",
         .help = "which experts are lost with a rank",
         .options = {"num_nodes"},
         .is_of_one_subject = true,
         .looks_at_ranks = true,
         .refusal = refusal_of_several,
         .make = make_faults},
        {.name = "worth",
         .help = "what it is worth: tokens of the fullest rank and, on a GPU, the model's speed-up",
         .options = with_time({"moe_share", "tokens_per_second_per_rank"}),
         .looks_at_ranks = true,
         .refusal = refusal_of_worth,
         .make = make_worth},
    };
}

const ReportView& view_named(const std::string& name) {
    const std::vector<ReportView>& views = report_views();
    const auto found = std::find_if(views.begin(), views.end(),
                                    [&](const ReportView& view) { return view.name == name; });
    assert(found != views.end());
    return *found;
}

// The views that heed an option; none where all of them do.
std::vector<std::string> views_for(const std::string& option) {
    std::vector<std::string> names;
    for (const ReportView& view : report_views())
        if (std::find(view.options.begin(), view.options.end(), option) != view.options.end())
            names.push_back(view.name);
    return names;
}

// An option that only other views heed would be lost without a word.
void check_options_of(const ReportView& view, const ReportOptions& options) {
    for (const cli::GivenOption& given : options.given) {
        const std::vector<std::string> names = views_for(given.name);
        if (names.empty() || std::find(names.begin(), names.end(), view.name) != names.end())
            continue;
        throw UsageError("--" + given.name + " says nothing to --view " + view.name +
                         "; it is for " + joined(names, ", "));
    }
}

// How many recordings and configs there are.
void check_inputs_of(const ReportView& view, const ReportOptions& options) {
    const std::vector<std::string>& paths = options.expert_statistic_paths;
    if (paths.empty())
        throw UsageError(
            "--expert_statistic_path is required: a folder, a stream, or - to read a pipe");
    if (std::count(paths.begin(), paths.end(), "-") > 1)
        throw UsageError("-, standard input, is given twice: it can be read once");
    if (const std::string refusal = view.refusal(options); !refusal.empty())
        throw UsageError("--view " + view.name + " " + refusal);
    if (paths.size() > 1 && options.config_paths.size() > 1)
        throw UsageError(
            "several statistics under several configs: give one statistics with several configs, "
            "or several with one");
}

void check_time_gate(const ReportOptions& options) {
    if (options.max_time && !options.time.has_profile())
        throw UsageError("--max_time needs to know the GPU: give --gpu or --time_profile");
}

}  // namespace

const Subject& ViewInput::subject() const {
    const ReportInput& input = inputs.front();
    assert(inputs.size() == 1 && input.projected.size() <= 1);
    return input.projected.empty() ? input.recorded : input.projected.front();
}

std::vector<const MeasuredSubject*> ViewInput::all_measured() const {
    std::vector<const MeasuredSubject*> measured;
    for (const Subject* const subject : compared_subjects(inputs))
        measured.push_back(&measurements.of(*subject));
    return measured;
}

TimedSubject ViewInput::timed(const Subject& subject) const {
    return time_subject(subject, *gpu, model_top_k, measurements.threads());
}

std::vector<TimedSubject> ViewInput::all_timed() const {
    std::vector<TimedSubject> all;
    if (gpu != nullptr)
        for (const Subject* const subject : compared_subjects(inputs))
            all.push_back(timed(*subject));
    return all;
}

const std::vector<ReportView>& report_views() {
    static const std::vector<ReportView> views = all_views();
    return views;
}

const ReportView& view_of(const ReportOptions& options) {
    if (options.view != nullptr)
        return *options.view;
    const bool are_several =
        options.expert_statistic_paths.size() > 1 || options.config_paths.size() > 1;
    return view_named(are_several ? "comparison" : "layers");
}

Bins bins_of(const ReportOptions& options) {
    return options.per_expert ? Bins::slots : Bins::ranks;
}

void check_view_options(const ReportOptions& options) {
    const ReportView& view = view_of(options);
    check_options_of(view, options);
    check_inputs_of(view, options);
    if (view.needs_profile && !options.time.has_profile())
        throw UsageError("--view " + view.name +
                         " needs to know the GPU: give --gpu, or --time_profile with one's own");
    check_time_gate(options);
    if (!(options.moe_share > 0 && options.moe_share <= 1))
        throw UsageError("--moe_share is a share of the time: above 0 and up to 1");
    if (options.equal_split && options.config_paths.empty())
        throw UsageError(
            "--equal_split is about replicas, which only a config has; give one with "
            "--projection_eplb_config_path");
}

}  // namespace eplb
