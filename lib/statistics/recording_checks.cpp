#include "lib/statistics/recording_checks.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <numeric>
#include <span>

#include "lib/base/error.h"
#include "lib/base/setting.h"

namespace eplb {
namespace {

// "3", "3 and 4", "3, 4 and 54 more"
std::string listed(const std::vector<int>& numbers) {
    constexpr std::size_t kMostNamed = 4;
    const std::size_t named = numbers.size() <= kMostNamed ? numbers.size() : kMostNamed - 1;
    std::string text;
    for (std::size_t i = 0; i < named; ++i) {
        if (i > 0)
            text += i + 1 == numbers.size() ? " and " : ", ";
        text += std::to_string(numbers[i]);
    }
    if (named < numbers.size())
        text += " and " + std::to_string(numbers.size() - named) + " more";
    return text;
}

std::vector<std::int64_t> layer_totals(const ExpertStatistics& statistics) {
    std::vector<std::int64_t> totals(statistics.layers.size());
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            for (int source = 0; source < statistics.num_sources; ++source) {
                const auto row = statistics.row(iteration, layer, source);
                totals[layer] = std::accumulate(row.begin(), row.end(), totals[layer]);
            }
    return totals;
}

void warn_of_idle_layers(const ExpertStatistics& statistics,
                         const std::vector<std::int64_t>& totals,
                         std::vector<std::string>& warnings) {
    std::vector<int> idle;
    for (std::size_t layer = 0; layer < totals.size(); ++layer)
        if (totals[layer] == 0)
            idle.push_back(statistics.layers[layer]);
    if (!idle.empty())
        warnings.push_back((idle.size() == 1 ? "layer " : "layers ") + listed(idle) +
                           (idle.size() == 1 ? " holds" : " hold") +
                           " no tokens: nothing is known of how tokens are routed there");
}

void warn_of_unequal_totals(const ExpertStatistics& statistics,
                            const std::vector<std::int64_t>& totals,
                            std::vector<std::string>& warnings) {
    std::size_t least = totals.size();
    std::size_t most = totals.size();
    for (std::size_t layer = 0; layer < totals.size(); ++layer) {
        if (totals[layer] == 0)
            continue;
        if (least == totals.size() || totals[layer] < totals[least])
            least = layer;
        if (most == totals.size() || totals[layer] > totals[most])
            most = layer;
    }
    if (least == most)
        return;
    const double percent =
        100 * (1 - static_cast<double>(totals[least]) / static_cast<double>(totals[most]));
    char difference[32];
    std::snprintf(difference, sizeof difference, percent < 10 ? "%.2g %%" : "%.0f %%", percent);
    warnings.push_back(
        "layers differ in their totals, by " + std::string(difference) + " from " +
        std::to_string(totals[least]) + " (layer " + std::to_string(statistics.layers[least]) +
        ") to " + std::to_string(totals[most]) + " (layer " +
        std::to_string(statistics.layers[most]) +
        "): some passes were not recorded in all of them; each layer is balanced by its own");
}

// [layers][num_sources][num_experts] of one iteration
std::span<const std::int64_t> iteration_counts(const ExpertStatistics& statistics, int iteration) {
    return statistics.grid().row(iteration);
}

// Iterations from the first on that are alike.
int num_repeated(const ExpertStatistics& statistics) {
    const auto first = iteration_counts(statistics, 0);
    int count = 1;
    while (count < statistics.num_iterations &&
           std::ranges::equal(first, iteration_counts(statistics, count)))
        ++count;
    return count;
}

// Whether, in every layer, as many experts as a token takes got all tokens, each the same number,
// and there were enough of them that this is no accident.
bool is_one_route(const ExpertStatistics& statistics, int iteration) {
    constexpr std::int64_t kFewTokens = 16;
    bool has_tokens = false;
    for (int layer = 0; layer < statistics.num_layers(); ++layer) {
        std::vector<std::int64_t> counts(statistics.num_experts);
        for (int source = 0; source < statistics.num_sources; ++source) {
            const auto row = statistics.row(iteration, layer, source);
            std::transform(row.begin(), row.end(), counts.begin(), counts.begin(), std::plus<>());
        }
        const std::int64_t most = *std::max_element(counts.begin(), counts.end());
        if (most == 0)
            continue;
        has_tokens = true;
        const auto num_hit = std::count(counts.begin(), counts.end(), most);
        const bool are_others_idle =
            num_hit + std::count(counts.begin(), counts.end(), 0) == statistics.num_experts;
        const bool is_one_set = statistics.top_k > 0 ? num_hit == statistics.top_k
                                                     : 2 * num_hit <= statistics.num_experts;
        if (most < kFewTokens || !are_others_idle || !is_one_set)
            return false;
    }
    return has_tokens;
}

void warn_of_warm_up(const ExpertStatistics& statistics, std::vector<std::string>& warnings) {
    if (statistics.num_iterations < 2)
        return;
    int num_one_route = 0;
    while (num_one_route < statistics.num_iterations && is_one_route(statistics, num_one_route))
        ++num_one_route;
    const int repeated = num_repeated(statistics);
    const bool is_repetition = repeated > 1 && repeated >= num_one_route;
    const int num_odd = is_repetition ? repeated : num_one_route;
    if (num_odd == 0)
        return;
    const std::int64_t stop = statistics.iter_start + num_odd;
    std::string text =
        num_odd == statistics.num_iterations
            ? "all iterations"
            : "iterations " + std::to_string(statistics.iter_start) + "-" + std::to_string(stop);
    text += is_repetition ? " hold the same counts" : " sent all tokens to the same experts";
    text += ", as warm-up passes do";
    if (num_odd < statistics.num_iterations)
        text += "; leave them out with " + setting("iter_start") + " " + std::to_string(stop);
    warnings.push_back(text);
}

}  // namespace

std::vector<std::string> recording_warnings(const ExpertStatistics& statistics) {
    std::vector<std::string> warnings;
    if (statistics.num_iterations == 0)
        return warnings;
    const std::vector<std::int64_t> totals = layer_totals(statistics);
    warn_of_idle_layers(statistics, totals, warnings);
    warn_of_unequal_totals(statistics, totals, warnings);
    warn_of_warm_up(statistics, warnings);
    return warnings;
}

void require_alike(const ExpertStatistics& statistics,
                   const std::string& name,
                   const ExpertStatistics& first,
                   const std::string& first_name) {
    const auto differ = [&](const std::string& what) {
        throw Error(name + ": has other " + what + " than " + first_name +
                    "; workloads of one model share them");
    };
    if (statistics.num_experts != first.num_experts)
        differ("experts (" + std::to_string(statistics.num_experts) + ", not " +
               std::to_string(first.num_experts) + ")");
    if (statistics.top_k != first.top_k && statistics.top_k > 0 && first.top_k > 0)
        differ("experts per token");
    if (statistics.layers != first.layers)
        differ("layers");
}

}  // namespace eplb
