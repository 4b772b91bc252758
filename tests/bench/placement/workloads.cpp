// Several workloads of DeepSeek-R1, a sum each: one placement for all, and one that was not there.
#include <cmath>
#include <numeric>
#include <vector>

#include "lib/placement/plan/evaluation.h"
#include "lib/placement/search/noise_floor.h"
#include "tests/bench/placement/measures.h"
#include "tests/bench/placement/real_data.h"
#include "tests/bench/placement/sections.h"
#include "tests/bench/placement/text_table.h"

namespace eplb::bench {
namespace {

struct Case {
    Configuration configuration;
    double goal = kNotKnown;  // imbalance of a workload left out; else: no worse than greedy
};
const std::vector<Case> kCases = {
    {{32, 288}, 0.02}, {{36, 288}, 0.02}, {{64, 320}, 0.05}, {{72, 288}, 0.12}, {{144, 288}}};

using Pointers = std::vector<const ExpertStatistics*>;

Pointers pointers_to(const std::vector<Recording>& recordings) {
    Pointers pointers;
    for (const Recording& recording : recordings)
        pointers.push_back(&recording.statistics);
    return pointers;
}

// One member of the results, mean over layers of one workload.
double mean_result(const Plan& plan, std::size_t workload, double WorkloadResult::*member) {
    std::vector<double> values;
    for (const LayerPlan& layer : plan.layers)
        values.push_back(layer.workloads[workload].*member);
    return mean_of(values);
}

double mean_result(const Plan& plan, double WorkloadResult::*member) {
    std::vector<double> values;
    for (std::size_t w = 0; w < plan.layers.front().workloads.size(); ++w)
        values.push_back(mean_result(plan, w, member));
    return mean_of(values);
}

// [num_experts]: shares of a layer's ids, summing to 1
std::vector<double> shares_of(const ExpertStatistics& statistics, int layer) {
    const std::vector<std::int64_t> counts = total_counts(statistics, layer);
    const double total =
        static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
    std::vector<double> shares;
    shares.reserve(counts.size());
    for (const std::int64_t count : counts)
        shares.push_back(static_cast<double>(count) / total);
    return shares;
}

double product(const std::vector<double>& a, const std::vector<double>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// a += factor * b
void add(double factor, const std::vector<double>& b, std::vector<double>& a) {
    for (std::size_t i = 0; i < a.size(); ++i)
        a[i] += factor * b[i];
}

// What is left of `target` after the best combination of `others` with weights that sum to 1.
std::vector<double> residual(std::vector<double> target,
                             const std::vector<std::vector<double>>& others) {
    std::vector<std::vector<double>> basis;  // orthonormal, of the differences between the others
    const auto remove_basis = [&](std::vector<double>& from) {
        for (const std::vector<double>& direction : basis)
            add(-product(direction, from), direction, from);
    };
    add(-1, others.front(), target);
    for (std::size_t i = 1; i < others.size(); ++i) {
        std::vector<double> direction = others[i];
        add(-1, others.front(), direction);
        const double before = std::sqrt(product(direction, direction));
        remove_basis(direction);
        const double norm = std::sqrt(product(direction, direction));
        if (norm <= 1e-9 * before)
            continue;
        for (double& value : direction)
            value /= norm;
        basis.push_back(std::move(direction));
    }
    remove_basis(target);
    return target;
}

// Of one workload against the others, mean over layers.
struct Residual {
    double share = 0;               // its norm against that of the workload
    double of_change = 0;           // against that of the workload's distance from the others' mean
    std::vector<double> imbalance;  // [plans]: what it would cause
};

Residual measure_residual(const Pointers& workloads,
                          std::size_t left_out,
                          const std::vector<Plan>& plans) {
    Residual mean;
    mean.imbalance.resize(plans.size());
    const int num_layers = workloads.front()->num_layers();
    for (int layer = 0; layer < num_layers; ++layer) {
        std::vector<std::vector<double>> others;
        for (std::size_t w = 0; w < workloads.size(); ++w)
            if (w != left_out)
                others.push_back(shares_of(*workloads[w], layer));
        const std::vector<double> shares = shares_of(*workloads[left_out], layer);
        std::vector<double> distance = shares;
        for (const std::vector<double>& other : others)
            add(-1.0 / static_cast<double>(others.size()), other, distance);
        const std::vector<double> rest = residual(shares, others);
        const double norm = std::sqrt(product(rest, rest));
        mean.share += norm / std::sqrt(product(shares, shares)) / num_layers;
        mean.of_change += norm / std::sqrt(product(distance, distance)) / num_layers;
        for (std::size_t i = 0; i < plans.size(); ++i) {
            const Placement& placement = plans[i].layers[layer].placement;
            const std::vector<int> replicas =
                replica_counts(placement.expert_ids, static_cast<int>(shares.size()));
            // in mean rank loads: shares times ep_size
            const double unit = placement.ep_size;
            double squares = 0;
            for (std::size_t expert = 0; expert < rest.size(); ++expert)
                squares += unit * rest[expert] * unit * rest[expert] / replicas[expert];
            mean.imbalance[i] += expected_maximum_of_normals(placement.ep_size) *
                                 std::sqrt(squares / placement.ep_size) / num_layers;
        }
    }
    return mean;
}

// How many workloads fare worse by one member than by another.
int num_above(const Plan& plan, double WorkloadResult::*member, double WorkloadResult::*baseline) {
    int count = 0;
    for (std::size_t w = 0; w < plan.layers.front().workloads.size(); ++w)
        count += mean_result(plan, w, member) > mean_result(plan, w, baseline);
    return count;
}

std::vector<Plan> print_plans(const Pointers& workloads, ThreadPool& threads) {
    print_text(
        "Imbalance, mean over layers and workloads, algorithm automatic. Left out: fitted to the\n"
        "five others, tested on the sixth. Greedy alone: fitted to the workload that it is tested\n"
        "on.");
    TextTable table({"ep/slots", "goal", "fitted to all", "", "greedy", "left out", "", "greedy",
                     "greedy alone", "layers by risk"});
    std::vector<Plan> plans;
    int num_left_out_above = 0;
    int num_common_above = 0;
    for (const Case& one : kCases) {
        plans.push_back(
            fit(workloads, request_of(Algorithm::automatic, one.configuration), {}, threads));
        const Plan& plan = plans.back();
        const Plan greedy_plan = fit(workloads, request_of(Algorithm::greedy, one.configuration),
                                     {.predict = false, .progress = {}}, threads);
        const double common = mean_result(plan, &WorkloadResult::common);
        const double left_out = mean_result(plan, &WorkloadResult::left_out);
        const double greedy_left_out = mean_result(plan, &WorkloadResult::greedy_left_out);
        std::vector<double> greedy;
        for (std::size_t w = 0; w < workloads.size(); ++w) {
            greedy.push_back(mean_outcome(greedy_plan, *workloads[w], threads));
            num_common_above += mean_result(plan, w, &WorkloadResult::common) > greedy.back();
        }
        num_left_out_above +=
            num_above(plan, &WorkloadResult::left_out, &WorkloadResult::greedy_left_out);
        const double greedy_common = mean_of(greedy);
        const auto verdict = [&](double value, double of_greedy) {
            return met(value <= (std::isnan(one.goal) ? of_greedy : one.goal));
        };
        table.add({one.configuration.name(), std::isnan(one.goal) ? "greedy" : fixed(one.goal, 2),
                   imbalance_text(common), verdict(common, greedy_common),
                   imbalance_text(greedy_common), imbalance_text(left_out),
                   verdict(left_out, greedy_left_out), imbalance_text(greedy_left_out),
                   imbalance_text(mean_result(plan, &WorkloadResult::greedy_alone)),
                   std::to_string(plan.num_searched_layers) + " of " +
                       std::to_string(plan.layers.size())});
    }
    table.print();
    const std::string of_all =
        " of " + std::to_string(workloads.size() * kCases.size()) + " (goal: none)";
    print_text("workloads that fare worse than by greedy fitted to the same:\nfitted to all " +
               std::to_string(num_common_above) + of_all + ", left out " +
               std::to_string(num_left_out_above) + of_all);
    return plans;
}

void print_left_out(const std::vector<Recording>& recordings, const std::vector<Plan>& plans) {
    print_text("The same per workload left out: automatic, and greedy in brackets.");
    std::vector<std::string> header = {"left out"};
    for (const Case& one : kCases)
        header.push_back(one.configuration.name());
    TextTable table(header);
    for (std::size_t w = 0; w < recordings.size(); ++w) {
        std::vector<std::string> row = {recordings[w].name};
        for (const Plan& plan : plans)
            row.push_back(imbalance_text(mean_result(plan, w, &WorkloadResult::left_out)) + " (" +
                          imbalance_text(mean_result(plan, w, &WorkloadResult::greedy_left_out)) +
                          ")");
        table.add(std::move(row));
    }
    table.print();
}

void print_floor(const std::vector<Recording>& recordings,
                 const Pointers& workloads,
                 const std::vector<Plan>& plans) {
    print_text(
        "What the floor allows, an estimate: the part of a workload left out that no combination\n"
        "of the five others (weights summing to 1) explains. Its norm against the workload's, and\n"
        "against that of the workload's distance from the mean of the others; and the imbalance\n"
        "that it alone would cause, spread over the ranks as if experts were independent, with "
        "the\n"
        "replicas of the plan fitted to all. A placement can hardly know this part, so that less\n"
        "is hardly to be reached: a lower end, not a bound.");
    std::vector<std::string> header = {"left out", "% of its norm", "% of its distance"};
    for (const Case& one : kCases)
        header.push_back(one.configuration.name());
    TextTable table(header);
    std::vector<std::vector<double>> all(plans.size() + 2);
    const auto as_row = [](const std::string& name, const std::vector<double>& values) {
        std::vector<std::string> row = {name, percent(values[0], 1), percent(values[1], 1)};
        for (std::size_t i = 2; i < values.size(); ++i)
            row.push_back(imbalance_text(values[i]));
        return row;
    };
    for (std::size_t w = 0; w < recordings.size(); ++w) {
        const Residual rest = measure_residual(workloads, w, plans);
        std::vector<double> values = {rest.share, rest.of_change};
        values.insert(values.end(), rest.imbalance.begin(), rest.imbalance.end());
        for (std::size_t i = 0; i < values.size(); ++i)
            all[i].push_back(values[i]);
        table.add(as_row(recordings[w].name, values));
    }
    std::vector<double> means;
    means.reserve(all.size());
    for (const std::vector<double>& values : all)
        means.push_back(mean_of(values));
    table.add(as_row("mean", means));
    std::vector<std::string> reached = {"reached, mean", "", ""};
    for (const Plan& plan : plans)
        reached.push_back(imbalance_text(mean_result(plan, &WorkloadResult::left_out)));
    table.add(std::move(reached));
    table.print();
}

void print_kinds(const Pointers& workloads, ThreadPool& threads) {
    print_text(
        "By kind: fitted to the four prefill workloads and tested on the two of decode; and with\n"
        "one of decode added, tested on the other, mean of both ways.");
    TextTable table({"ep/slots", "prefill: greedy", "automatic", "change",
                     "with one decode: greedy", "automatic", "change"});
    const Pointers prefill(workloads.begin(), workloads.begin() + kNumPrefill);
    const PlanScope scope = {.predict = false, .progress = {}};
    for (const Case& one : kCases) {
        std::vector<std::string> row = {one.configuration.name()};
        for (const bool with_one : {false, true}) {
            const auto tested = [&](Algorithm algorithm) {
                std::vector<double> values;
                for (std::size_t w = kNumPrefill; w < workloads.size(); ++w) {
                    Pointers fitted = prefill;
                    for (std::size_t other = kNumPrefill; with_one && other < workloads.size();
                         ++other)
                        if (other != w)
                            fitted.push_back(workloads[other]);
                    values.push_back(mean_outcome(
                        fit(fitted, request_of(algorithm, one.configuration), scope, threads),
                        *workloads[w], threads));
                }
                return mean_of(values);
            };
            const double greedy = tested(Algorithm::greedy);
            const double automatic = tested(Algorithm::automatic);
            row.insert(row.end(), {imbalance_text(greedy), imbalance_text(automatic),
                                   change(automatic, greedy)});
        }
        table.add(std::move(row));
    }
    table.print();
}

}  // namespace

void bench_workloads(const SectionContext& context) {
    print_title("workloads", "one placement for several workloads of DeepSeek-R1");
    const std::vector<Recording> recordings = read_workloads();
    if (recordings.empty())
        return;
    const Pointers workloads = pointers_to(recordings);
    const std::vector<Plan> plans = print_plans(workloads, context.threads);
    print_left_out(recordings, plans);
    print_floor(recordings, workloads, plans);
    print_kinds(workloads, context.threads);
}

}  // namespace eplb::bench
