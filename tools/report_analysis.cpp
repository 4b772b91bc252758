#include "tools/report_analysis.h"

#include <string>
#include <utility>

#include "lib/base/error.h"
#include "lib/report/views/comparison.h"
#include "lib/report/views/drift.h"
#include "lib/report/views/held_out.h"
#include "lib/report/views/held_out_ranges.h"
#include "lib/report/views/held_out_table.h"
#include "lib/report/views/speedup.h"
#include "tools/paths.h"

namespace eplb {
namespace {

// Of one recording split_iterations(); of two all of each, or what is given.
HeldOutRanges ranges_of(const ReportOptions& options, const std::vector<ReportInput>& inputs) {
    const IterationRange first = inputs.front().recorded.iterations();
    const IterationRange last = inputs.back().recorded.iterations();
    if (options.fit)
        check_range(*options.fit, first, inputs.front().path);
    if (options.test)
        check_range(*options.test, last, inputs.back().path);
    if (inputs.size() == 1)
        return split_iterations(first, options.fit, options.test);
    return {options.fit.value_or(first), options.test.value_or(last)};
}

HeldOut planned(const ReportOptions& options,
                const std::vector<ReportInput>& inputs,
                const HeldOutRanges& ranges,
                ThreadPool& threads) {
    PlanRequest request;
    request.algorithm = Algorithm::automatic;
    request.ep_size = options.ep_size;
    request.num_slots = options.num_slots;
    return plan_held_out(
        {&inputs.front().statistics, inputs.front().path, ranges.fit},
        {&inputs.back().statistics, inputs.back().path, ranges.test},
        unbalanced_subject(inputs.back().statistics, inputs.back().path, request.ep_size), request,
        threads);
}

HeldOut of_config(const ReportOptions& options,
                  const std::vector<ReportInput>& inputs,
                  const HeldOutRanges& ranges) {
    if (options.num_slots > 0)
        throw UsageError("--num_slots is for a placement that is fitted; the config has its own");
    HeldOut held_out;
    held_out.placement = options.config_paths.front();
    held_out.unbalanced =
        iterations_of(unbalanced_subject(inputs.back().statistics, inputs.back().path,
                                         inputs.back().projected.front().ep_size),
                      ranges.test);
    held_out.fitted = iterations_of(inputs.front().projected.front(), ranges.fit);
    held_out.held_out = iterations_of(inputs.back().projected.front(), ranges.test);
    held_out.fitted.name = inputs.front().path;
    held_out.held_out.name = inputs.back().path;
    return held_out;
}

}  // namespace

std::string refusal_of_comparison(const ReportOptions& options) {
    return options.expert_statistic_paths.size() + options.config_paths.size() < 2
               ? "takes two statistics or more, or one and configs"
               : "";
}

ViewResult make_comparison(const ViewInput& input) {
    return {comparison_table(input.all_measured(), pairing_of(input.inputs), input.all_timed()),
            {}};
}

std::string refusal_of_held_out(const ReportOptions& options) {
    if (options.expert_statistic_paths.size() > 2 || options.config_paths.size() > 1)
        return "takes the statistics that were fitted to, those to test on where they are others, "
               "and at most one config";
    if (options.config_paths.empty() && (options.ep_size == 0 || options.num_slots == 0))
        return "fits a placement: give --ep_size and --num_slots, or the config to test with "
               "--projection_eplb_config_path";
    return "";
}

ViewResult make_held_out(const ViewInput& input) {
    const std::vector<ReportInput>& inputs = input.inputs;
    ThreadPool& threads = input.measurements.threads();
    const bool is_of_config = !inputs.front().projected.empty();
    const HeldOutRanges ranges = ranges_of(input.options, inputs);
    HeldOut held_out = is_of_config ? of_config(input.options, inputs, ranges)
                                    : planned(input.options, inputs, ranges, threads);
    held_out.overlaps = cli::is_same_file(inputs.front().path, inputs.back().path) &&
                        overlap(ranges.fit, ranges.test);
    held_out.fit_is_assumed = is_of_config && inputs.size() == 1 && !input.options.fit;
    HeldOutReport report = held_out_table(held_out, input.options.min_speedup, threads, input.gpu);
    return {std::move(report.table),
            TestedImbalance{report.imbalance_ratio, report.verdict != Verdict::none}};
}

std::string refusal_of_drift(const ReportOptions& options) {
    return options.expert_statistic_paths.size() != 2 || options.config_paths.size() > 1
               ? "takes two statistics, the earlier one first, and at most one config"
               : "";
}

ViewResult make_drift(const ViewInput& input) {
    const ReportInput& first = input.inputs.front();
    const ReportInput& second = input.inputs.back();
    DriftInput drift;
    drift.first = &first.recorded;
    drift.second = &second.recorded;
    if (!first.projected.empty()) {
        drift.first_projected = &input.measurements.of(first.projected.front());
        drift.second_projected = &input.measurements.of(second.projected.front());
    }
    return {drift_table(drift, input.measurements.threads()), {}};
}

std::string refusal_of_worth(const ReportOptions& options) {
    const std::size_t num_statistics = options.expert_statistic_paths.size();
    return num_statistics + (num_statistics > 1 ? 0 : options.config_paths.size()) > 2
               ? "takes two statistics, or one and a config; comparison takes more"
               : "";
}

ViewResult make_worth(const ViewInput& input) {
    if (input.gpu == nullptr)
        for (const cli::GivenOption& given : input.options.given)
            if (given.name == "moe_share" || given.name == "tokens_per_second_per_rank")
                throw UsageError("--" + given.name +
                                 " is about time, which tokens alone do not tell; give --gpu or "
                                 "--time_profile");
    const std::vector<const MeasuredSubject*> subjects = input.all_measured();
    const std::vector<TimedSubject> timed = input.all_timed();
    const auto side = [&](std::size_t i) {
        return i < subjects.size() ? WorthSide{subjects[i], timed.empty() ? nullptr : &timed[i]}
                                   : WorthSide{};
    };
    return {worth_table(side(0), side(1), pairing_of(input.inputs),
                        {.moe_share = input.options.moe_share,
                         .tokens_per_second_per_rank = input.options.tokens_per_second_per_rank}),
            {}};
}

}  // namespace eplb
