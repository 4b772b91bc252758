#include "tools/report_analysis.h"

#include <optional>
#include <string>

#include "lib/base/error.h"
#include "lib/report/views/comparison.h"
#include "lib/report/views/drift.h"
#include "lib/report/views/held_out.h"
#include "lib/report/views/speedup.h"
#include "tools/paths.h"
#include "tools/typed_values.h"

namespace eplb {
namespace {

Pairing pairing_of(const std::vector<ReportInput>& inputs) {
    return inputs.size() == 1 ? Pairing::paired : Pairing::independent;
}

IterationRange recorded_range(const ReportInput& input) {
    return {input.recorded.iter_start, input.recorded.iter_stop()};
}

std::optional<IterationRange> range_of(const std::string& text, const std::string& option) {
    if (text.empty())
        return {};
    return cli::parse_iteration_range(text, option);
}

// Of one recording split_iterations(); of two all of each, or what is given.
HeldOutRanges ranges_of(const ReportOptions& options, const std::vector<ReportInput>& inputs) {
    const std::optional<IterationRange> fit = range_of(options.fit, "--fit");
    const std::optional<IterationRange> test = range_of(options.test, "--test");
    const IterationRange first = recorded_range(inputs.front());
    const IterationRange last = recorded_range(inputs.back());
    if (fit)
        check_range(*fit, first, inputs.front().path);
    if (test)
        check_range(*test, last, inputs.back().path);
    if (inputs.size() == 1)
        return split_iterations(first, fit, test);
    return {fit.value_or(first), test.value_or(last)};
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

Table comparison_view(const std::vector<ReportInput>& inputs, Bins bins, ThreadPool& threads) {
    return comparison_table(compared_subjects(inputs), bins, pairing_of(inputs), threads);
}

Table held_out_view(const ReportOptions& options,
                    const std::vector<ReportInput>& inputs,
                    ThreadPool& threads) {
    const HeldOutRanges ranges = ranges_of(options, inputs);
    HeldOut held_out = inputs.front().projected.empty() ? planned(options, inputs, ranges, threads)
                                                        : of_config(options, inputs, ranges);
    held_out.overlaps = cli::is_same_file(inputs.front().path, inputs.back().path) &&
                        overlap(ranges.fit, ranges.test);
    held_out.fit_is_assumed =
        !inputs.front().projected.empty() && inputs.size() == 1 && options.fit.empty();
    return held_out_table(held_out, options.min_speedup, threads);
}

Table drift_view(const std::vector<ReportInput>& inputs, ThreadPool& threads) {
    DriftInput input;
    input.first = &inputs.front().recorded;
    input.second = &inputs.back().recorded;
    if (!inputs.front().projected.empty()) {
        input.first_projected = &inputs.front().projected.front();
        input.second_projected = &inputs.back().projected.front();
    }
    return drift_table(input, threads);
}

Table worth_view(const ReportOptions& options,
                 const std::vector<ReportInput>& inputs,
                 ThreadPool& threads) {
    const std::vector<const Subject*> subjects = compared_subjects(inputs);
    return worth_table(*subjects.front(), subjects.size() > 1 ? subjects.back() : nullptr,
                       pairing_of(inputs),
                       {.moe_share = options.moe_share,
                        .tokens_per_second_per_rank = options.tokens_per_second_per_rank},
                       threads);
}

}  // namespace eplb
