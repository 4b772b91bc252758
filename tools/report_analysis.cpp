#include "tools/report_analysis.h"

#include <filesystem>
#include <optional>
#include <string>

#include "lib/base/error.h"
#include "lib/report/comparison.h"
#include "lib/report/drift.h"
#include "lib/report/held_out.h"
#include "lib/report/speedup.h"

namespace eplb {
namespace {

struct Subjects {
    std::vector<const Subject*> subjects;
    Pairing pairing = Pairing::paired;
};

Subjects subjects_of(const std::vector<ReportInput>& inputs) {
    Subjects result;
    const std::size_t num_configs = inputs.front().projected.size();
    if (inputs.size() == 1) {
        result.subjects.push_back(&inputs.front().recorded);
        for (const Subject& projected : inputs.front().projected)
            result.subjects.push_back(&projected);
        return result;
    }
    result.pairing = Pairing::independent;
    for (const ReportInput& input : inputs)
        result.subjects.push_back(num_configs == 0 ? &input.recorded : &input.projected.front());
    return result;
}

bool is_same_recording(const std::string& a, const std::string& b) {
    return std::filesystem::weakly_canonical(a) == std::filesystem::weakly_canonical(b);
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
    const Subjects subjects = subjects_of(inputs);
    return comparison_table(subjects.subjects, bins, subjects.pairing, threads);
}

Table held_out_view(const ReportOptions& options,
                    const std::vector<ReportInput>& inputs,
                    ThreadPool& threads) {
    const HeldOutRanges ranges = ranges_of(options, inputs);
    HeldOut held_out = inputs.front().projected.empty() ? planned(options, inputs, ranges, threads)
                                                        : of_config(options, inputs, ranges);
    held_out.overlaps = is_same_recording(inputs.front().path, inputs.back().path) &&
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
    const Subjects subjects = subjects_of(inputs);
    return worth_table(*subjects.subjects.front(),
                       subjects.subjects.size() > 1 ? subjects.subjects.back() : nullptr,
                       subjects.pairing,
                       {.moe_share = options.moe_share,
                        .tokens_per_second_per_rank = options.tokens_per_second_per_rank},
                       threads);
}

}  // namespace eplb
