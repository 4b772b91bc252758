#include <memory>
#include <vector>

#include "lib/placement/search/node_split.h"
#include "tests/catch.h"
#include "tests/placement/problems.h"

namespace eplb::test_node_split {

using eplb::Deployment;
using eplb::ExpertMatrix;
using eplb::PlacementProblem;
using eplb::test::add_covariance;
using eplb::test::add_workloads;
using eplb::test::make_problem;
using eplb::test::Random;

namespace {

// 12 experts in 4 groups of 3, on 2 nodes of 4 ranks
PlacementProblem random_problem() {
    Random random(1);
    PlacementProblem problem = make_problem(8, 3, std::vector<double>(12));
    add_workloads(random, 2, problem);
    add_covariance(random, 2, 0.3, problem);
    auto cooccurrence = std::make_shared<ExpertMatrix>(12);
    for (std::size_t a = 0; a < 12; ++a)
        for (std::size_t b = 0; b < a; ++b)
            cooccurrence->row(a)[b] = cooccurrence->row(b)[a] =
                static_cast<float>(random.uniform());
    problem.cooccurrence = cooccurrence;
    problem.rank_speed = {1.5, 1, 1, 1, 1, 1, 1, 0.5};
    problem.ids_per_load = 10;
    return problem;
}

Deployment two_nodes(int num_groups) {
    Deployment deployment;
    deployment.ep_size = 8;
    deployment.num_slots = 24;
    deployment.num_nodes = 2;
    deployment.num_groups = num_groups;
    return deployment;
}

}  // namespace

TEST_CASE("nodes are a problem of groups in units of the mean node, a replica each") {
    const PlacementProblem problem = random_problem();
    for (const int num_groups : {1, 4}) {
        const PlacementProblem groups = group_problem(problem, two_nodes(num_groups));
        const std::size_t num_parts = num_groups == 1 ? 12 : 4;
        const std::size_t size = 12 / num_parts;
        CHECK(groups.num_experts == static_cast<int>(num_parts));
        CHECK(groups.ep_size == 2);
        CHECK(groups.num_slots() == groups.num_experts);
        CHECK(groups.rank_speed[0] == Approx(4.5 / 4));
        CHECK(groups.rank_speed[1] == Approx(3.5 / 4));
        CHECK(groups.mean_load() == Approx(1));
        CHECK(groups.ids_per_load == Approx(40));  // a mean node has four times a rank's
        for (std::size_t a = 0; a < num_parts; ++a) {
            double load = 0;
            double second_workload = 0;
            for (std::size_t i = a * size; i < (a + 1) * size; ++i) {
                load += problem.load[i] / 4;
                second_workload += problem.scenario(1)[i] / 4;
            }
            CHECK(groups.load[a] == Approx(load));
            CHECK(groups.scenario(1)[a] == Approx(second_workload));
            for (std::size_t b = 0; b < num_parts; ++b) {
                double covariance = 0;
                double together = 0;
                for (std::size_t i = a * size; i < (a + 1) * size; ++i)
                    for (std::size_t k = b * size; k < (b + 1) * size; ++k) {
                        covariance += problem.covariance->at(i, k) / 16;
                        together += a == b ? 0 : problem.cooccurrence->at(i, k);
                    }
                CHECK(groups.covariance->at(a, b) == Approx(covariance).margin(1e-12));
                CHECK(groups.cooccurrence->at(a, b) == Approx(together));
            }
        }
    }
}

TEST_CASE("a node's problem is that of its experts and ranks, in the same units") {
    const PlacementProblem problem = random_problem();
    const std::vector<int> experts = {0, 1, 2, 6, 7, 8};
    const PlacementProblem node = node_problem(problem, two_nodes(4), 1, experts);
    CHECK(node.num_experts == 6);
    CHECK(node.ep_size == 4);
    CHECK(node.slots_per_rank == 3);
    CHECK(node.rank_speed == std::vector<double>{1, 1, 1, 0.5});
    CHECK(node.scenario_weight == problem.scenario_weight);
    CHECK(node.ids_per_load == 10);
    for (std::size_t a = 0; a < 6; ++a) {
        const auto of_a = static_cast<std::size_t>(experts[a]);
        CHECK(node.load[a] == problem.load[of_a]);
        CHECK(node.scenario(1)[a] == problem.scenario(1)[of_a]);
        for (std::size_t b = 0; b < 6; ++b) {
            const auto of_b = static_cast<std::size_t>(experts[b]);
            CHECK(node.covariance->at(a, b) == problem.covariance->at(of_a, of_b));
            CHECK(node.cooccurrence->at(a, b) == problem.cooccurrence->at(of_a, of_b));
        }
    }
}

}  // namespace eplb::test_node_split
