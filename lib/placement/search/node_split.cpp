#include "lib/placement/search/node_split.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

namespace eplb {
namespace {

int num_parts(const PlacementProblem& problem, const Deployment& deployment) {
    return deployment.num_groups > 1 ? deployment.num_groups : problem.num_experts;
}

// [num_parts]: the sums of equal runs
template <typename Value>
std::vector<Value> summed(std::span<const Value> values, std::size_t num_parts) {
    const std::size_t size = values.size() / num_parts;
    std::vector<Value> sums;
    for (std::size_t first = 0; first < values.size(); first += size) {
        const std::span<const Value> part = values.subspan(first, size);
        sums.push_back(std::accumulate(part.begin(), part.end(), Value(0)));
    }
    return sums;
}

std::shared_ptr<const ExpertMatrix> summed(const ExpertMatrix* matrix, std::size_t num_parts) {
    if (matrix == nullptr)
        return nullptr;
    auto sums = std::make_shared<ExpertMatrix>(num_parts);
    const std::size_t size = matrix->num_experts() / num_parts;
    for (std::size_t expert = 0; expert < matrix->num_experts(); ++expert) {
        const std::vector<float> row = summed(matrix->row(expert), num_parts);
        const std::span<float> into = sums->row(expert / size);
        std::transform(row.begin(), row.end(), into.begin(), into.begin(), std::plus<>());
    }
    return sums;
}

// Pairs inside a group are on one node wherever it goes.
std::shared_ptr<const ExpertMatrix> summed_between(const ExpertMatrix* matrix,
                                                   std::size_t num_parts) {
    const std::shared_ptr<const ExpertMatrix> sums = summed(matrix, num_parts);
    if (sums == nullptr)
        return nullptr;
    auto between = std::make_shared<ExpertMatrix>(*sums);
    for (std::size_t part = 0; part < num_parts; ++part)
        between->row(part)[part] = 0;
    return between;
}

std::shared_ptr<const ExpertMatrix> picked(const ExpertMatrix* matrix,
                                           const std::vector<int>& experts) {
    if (matrix == nullptr)
        return nullptr;
    auto part = std::make_shared<ExpertMatrix>(experts.size());
    for (std::size_t i = 0; i < experts.size(); ++i)
        for (std::size_t k = 0; k < experts.size(); ++k)
            part->row(i)[k] = matrix->row(experts[i])[experts[k]];
    return part;
}

}  // namespace

PlacementProblem group_problem(const PlacementProblem& problem, const Deployment& deployment) {
    const auto num_groups = static_cast<std::size_t>(num_parts(problem, deployment));
    PlacementProblem groups;
    groups.num_experts = static_cast<int>(num_groups);
    groups.ep_size = deployment.num_nodes;
    groups.slots_per_rank = groups.num_experts / deployment.num_nodes;
    groups.top_k = problem.top_k;
    groups.load = summed(std::span(problem.load), num_groups);
    for (int scenario = 0; scenario < problem.num_scenarios(); ++scenario) {
        const std::vector<double> load = summed(problem.scenario(scenario), num_groups);
        groups.scenario_load.insert(groups.scenario_load.end(), load.begin(), load.end());
    }
    groups.scenario_weight = problem.scenario_weight;
    groups.ids_per_load = problem.ids_per_load * problem.ep_size / deployment.num_nodes;
    groups.covariance = summed(problem.covariance.get(), num_groups);
    groups.cooccurrence = summed_between(problem.cooccurrence.get(), num_groups);
    if (!problem.rank_speed.empty()) {
        groups.rank_speed =
            summed(std::span(problem.rank_speed), static_cast<std::size_t>(deployment.num_nodes));
        for (double& speed : groups.rank_speed)
            speed *= static_cast<double>(deployment.num_nodes) / problem.ep_size;
    }
    // loads in units of the mean node
    const double unit = static_cast<double>(deployment.num_nodes) / problem.ep_size;
    for (std::vector<double>* loads : {&groups.load, &groups.scenario_load})
        for (double& load : *loads)
            load *= unit;
    if (groups.covariance != nullptr) {
        auto scaled = std::make_shared<ExpertMatrix>(*groups.covariance);
        for (std::size_t group = 0; group < num_groups; ++group)
            for (float& value : scaled->row(group))
                value *= static_cast<float>(unit * unit);
        groups.covariance = std::move(scaled);
    }
    return groups;
}

std::vector<std::vector<int>> assign_to_nodes(
    const PlacementProblem& problem,
    const Deployment& deployment,
    const std::function<Placement(const PlacementProblem& groups)>& place_groups) {
    const Placement placement = place_groups(group_problem(problem, deployment));
    const int group_size = problem.num_experts / num_parts(problem, deployment);
    std::vector<std::vector<int>> nodes;
    for (int node = 0; node < deployment.num_nodes; ++node) {
        std::vector<int> experts;
        for (const int group : placement.rank(node))
            for (int i = 0; i < group_size; ++i)
                experts.push_back(group * group_size + i);
        std::sort(experts.begin(), experts.end());
        nodes.push_back(std::move(experts));
    }
    return nodes;
}

PlacementProblem node_problem(const PlacementProblem& problem,
                              const Deployment& deployment,
                              int node,
                              const std::vector<int>& experts) {
    PlacementProblem part;
    part.num_experts = static_cast<int>(experts.size());
    part.ep_size = problem.ep_size / deployment.num_nodes;
    part.slots_per_rank = problem.slots_per_rank;
    part.min_replicas = problem.min_replicas;
    part.top_k = problem.top_k;
    if (!problem.rank_speed.empty()) {
        const auto first = problem.rank_speed.begin() + node * part.ep_size;
        part.rank_speed.assign(first, first + part.ep_size);
    }
    const auto pick = [&](std::span<const double> load, std::vector<double>& into) {
        for (const int expert : experts)
            into.push_back(load[expert]);
    };
    pick(problem.load, part.load);
    for (int scenario = 0; scenario < problem.num_scenarios(); ++scenario)
        pick(problem.scenario(scenario), part.scenario_load);
    part.scenario_weight = problem.scenario_weight;
    part.ids_per_load = problem.ids_per_load;
    part.covariance = picked(problem.covariance.get(), experts);
    part.cooccurrence = picked(problem.cooccurrence.get(), experts);
    return part;
}

}  // namespace eplb
