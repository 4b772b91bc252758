#include "tests/placement/problems.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace eplb::test {

double Random::normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * std::acos(-1.0) * uniform());
}

double sum_of(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
}

PlacementProblem make_problem(int ep_size, int slots_per_rank, std::vector<double> load) {
    PlacementProblem problem;
    problem.num_experts = static_cast<int>(load.size());
    problem.ep_size = ep_size;
    problem.slots_per_rank = slots_per_rank;
    problem.load = std::move(load);
    return problem;
}

Deployment deployment_of(const PlacementProblem& problem, int num_nodes, int num_groups) {
    Deployment deployment;
    deployment.ep_size = problem.ep_size;
    deployment.num_slots = problem.num_slots();
    deployment.num_nodes = num_nodes;
    deployment.num_groups = num_groups;
    deployment.min_replicas = problem.min_replicas;
    deployment.rank_speed = problem.rank_speed;
    return deployment;
}

std::vector<double> random_speeds(Random& random, int ep_size) {
    std::vector<double> speeds;
    for (int rank = 0; rank < ep_size; ++rank)
        speeds.push_back(random.between(50, 150) / 100.0);
    const double mean = sum_of(speeds) / ep_size;
    for (double& speed : speeds)
        speed /= mean;
    return speeds;
}

std::vector<double> skewed_loads(Random& random, int num_experts, double exponent) {
    std::vector<double> loads;
    for (int expert = 0; expert < num_experts; ++expert)
        loads.push_back(std::pow(random.between(1, 1000) / 1000.0, -exponent));
    return loads;
}

PlacementProblem random_tiny_problem(Random& random, Kind kind) {
    const int min_replicas = kind == Kind::two_replicas ? 2 : 1;
    PlacementProblem problem;
    do {
        const auto num_experts = static_cast<std::size_t>(random.between(3, 6));
        problem = make_problem(random.between(2, 4), random.between(1, 3),
                               std::vector<double>(num_experts));
    } while (problem.num_slots() < min_replicas * problem.num_experts ||
             problem.slots_per_rank >= problem.num_experts);
    problem.min_replicas = min_replicas;
    const int skew = random.between(0, 30);
    for (double& load : problem.load) {
        if (kind == Kind::zeros && random.between(0, 2) == 0)
            continue;
        load = std::pow(random.between(1, 1000) / 1000.0, -skew / 10.0);
        if (kind == Kind::ties)
            load = std::floor(load);
    }
    if (kind == Kind::speeds)
        problem.rank_speed = random_speeds(random, problem.ep_size);
    return problem;
}

void add_workloads(Random& random, int num_workloads, PlacementProblem& problem) {
    std::fill(problem.load.begin(), problem.load.end(), 0.0);
    for (int workload = 0; workload < num_workloads; ++workload)
        problem.scenario_weight.push_back(random.between(1, 5));
    const double total_weight = sum_of(problem.scenario_weight);
    for (double& weight : problem.scenario_weight) {
        weight /= total_weight;
        std::vector<double> load = skewed_loads(random, problem.num_experts, 0.5);
        const double total = sum_of(load);
        for (std::size_t expert = 0; expert < load.size(); ++expert) {
            load[expert] *= problem.ep_size / total;
            problem.load[expert] += weight * load[expert];
        }
        problem.scenario_load.insert(problem.scenario_load.end(), load.begin(), load.end());
    }
}

void add_covariance(Random& random, int num_factors, double noise, PlacementProblem& problem) {
    const std::size_t num_experts = problem.load.size();
    auto covariance = std::make_shared<ExpertMatrix>(num_experts);
    for (std::size_t expert = 0; expert < num_experts; ++expert) {
        const double deviation = noise * problem.load[expert];
        covariance->row(expert)[expert] += static_cast<float>(deviation * deviation);
    }
    for (int factor = 0; factor < num_factors; ++factor) {
        std::vector<double> moves;
        for (const double load : problem.load)
            moves.push_back(noise * load * random.between(-1, 1));
        for (std::size_t a = 0; a < num_experts; ++a)
            for (std::size_t b = 0; b < num_experts; ++b)
                covariance->row(a)[b] += static_cast<float>(moves[a] * moves[b]);
    }
    problem.covariance = std::move(covariance);
}

std::vector<double> loads_of_ranks(const PlacementProblem& problem,
                                   const std::vector<double>& expert_load,
                                   const Placement& placement) {
    const std::vector<int> counts = counts_of(placement, problem.num_experts);
    std::vector<double> loads;
    for (int rank = 0; rank < placement.ep_size; ++rank) {
        double load = 0;
        for (const int expert : placement.rank(rank)) {
            const auto i = static_cast<std::size_t>(expert);
            load += expert_load[i] / counts[i];
        }
        loads.push_back(problem.rank_speed.empty() ? load : load / problem.rank_speed[rank]);
    }
    return loads;
}

double fullest_of(const PlacementProblem& problem, const Placement& placement) {
    const std::vector<double> loads = loads_of_ranks(problem, problem.load, placement);
    return *std::max_element(loads.begin(), loads.end());
}

std::vector<int> counts_of(const Placement& placement, int num_experts) {
    std::vector<int> counts(num_experts);
    for (const int expert : placement.expert_ids)
        ++counts.at(static_cast<std::size_t>(expert));
    return counts;
}

bool is_distinct(const Placement& placement) {
    for (int rank = 0; rank < placement.ep_size; ++rank) {
        const auto held = placement.rank(rank);
        std::vector<int> experts(held.begin(), held.end());
        std::sort(experts.begin(), experts.end());
        if (std::adjacent_find(experts.begin(), experts.end()) != experts.end())
            return false;
    }
    return true;
}

ExpertStatistics make_statistics(int num_layers,
                                 int num_iterations,
                                 int num_sources,
                                 int num_experts) {
    ExpertStatistics statistics;
    statistics.num_experts = num_experts;
    statistics.top_k = 8;
    statistics.ep_size = num_sources;
    statistics.num_sources = num_sources;
    for (int layer = 0; layer < num_layers; ++layer)
        statistics.layers.push_back(3 + layer);
    statistics.num_iterations = num_iterations;
    statistics.allocate();
    return statistics;
}

}  // namespace eplb::test
