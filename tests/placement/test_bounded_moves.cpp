#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "lib/placement/plan/alignment.h"
#include "lib/placement/plan/bounded_moves.h"
#include "lib/placement/search/distinct_packing.h"
#include "tests/catch.h"
#include "tests/placement/problems.h"
#include "tests/test_support.h"

namespace eplb::test_bounded_moves {

using eplb::best_points;
using eplb::check_start;
using eplb::Deployment;
using eplb::distribute_moves;
using eplb::move_curve;
using eplb::MoveCurve;
using eplb::MovePoint;
using eplb::num_moves;
using eplb::pack_distinct;
using eplb::Placement;
using eplb::PlacementProblem;
using eplb::replicate;
using eplb::test::counts_of;
using eplb::test::deployment_of;
using eplb::test::error_of;
using eplb::test::fullest_of;
using eplb::test::is_distinct;
using eplb::test::Kind;
using eplb::test::make_problem;
using eplb::test::Random;
using eplb::test::random_speeds;
using eplb::test::random_tiny_problem;
using eplb::test::skewed_loads;

namespace {

// The searches weigh loads in mean rank loads, and workloads beside the sum: here one.
void complete(PlacementProblem& problem) {
    const double mean = problem.mean_load();
    for (double& load : problem.load)
        load /= mean;
    problem.scenario_load = problem.load;
    problem.scenario_weight = {1};
}

// What would be right for other loads.
Placement outdated_placement(Random& random, const PlacementProblem& problem) {
    PlacementProblem before = problem;
    random.shuffle(before.load);
    return pack_distinct(before, before.load, replicate(before, before.load, 0)).placement();
}

MoveCurve curve_of(const PlacementProblem& problem, const Placement& current, int max_moves) {
    return move_curve(problem, deployment_of(problem), current, max_moves,
                      [&](const Placement& placement) { return fullest_of(problem, placement); });
}

// The least fullest rank of all placements with at most `max_moves` changed slots, in which every
// expert has min_replicas and no rank holds an expert twice.
double exhaustive_best(const PlacementProblem& problem,
                       Placement& placement,
                       std::size_t slot,
                       int max_moves) {
    if (slot == placement.expert_ids.size()) {
        const std::vector<int> counts = counts_of(placement, problem.num_experts);
        const bool is_valid =
            is_distinct(placement) &&
            *std::min_element(counts.begin(), counts.end()) >= problem.min_replicas;
        return is_valid ? fullest_of(problem, placement) : std::numeric_limits<double>::infinity();
    }
    double best = exhaustive_best(problem, placement, slot + 1, max_moves);
    if (max_moves == 0)
        return best;
    const int before = placement.expert_ids[slot];
    for (int expert = 0; expert < problem.num_experts; ++expert)
        if (expert != before) {
            placement.expert_ids[slot] = expert;
            best = std::min(best, exhaustive_best(problem, placement, slot + 1, max_moves - 1));
        }
    placement.expert_ids[slot] = before;
    return best;
}

void check_curve(const PlacementProblem& problem,
                 const Placement& current,
                 int max_moves,
                 const MoveCurve& curve) {
    REQUIRE(!curve.empty());
    CHECK(curve.front().num_moves == 0);
    CHECK(curve.front().placement == current);
    for (std::size_t i = 0; i < curve.size(); ++i) {
        const MovePoint& point = curve[i];
        CHECK(num_moves(point.placement, current) == point.num_moves);
        CHECK(point.num_moves <= max_moves);
        CHECK(point.imbalance == fullest_of(problem, point.placement));
        CHECK(is_distinct(point.placement));
        const std::vector<int> counts = counts_of(point.placement, problem.num_experts);
        CHECK(*std::min_element(counts.begin(), counts.end()) >= problem.min_replicas);
        if (i > 0) {
            CHECK(point.num_moves > curve[i - 1].num_moves);
            CHECK(point.imbalance < curve[i - 1].imbalance);
        }
    }
}

}  // namespace

TEST_CASE("few moves come close to the best that as many can reach", "[quality]") {
    Random random(1);
    int num_cases = 0;
    int num_optimal = 0;
    double left_of_gain = 0;  // of what the best placement gains
    for (int trial = 0; trial < 120; ++trial) {
        const Kind kind =
            std::vector<Kind>{Kind::plain, Kind::speeds, Kind::two_replicas, Kind::ties}[trial % 4];
        PlacementProblem problem = random_tiny_problem(random, kind);
        if (!(problem.mean_load() > 0))
            continue;
        complete(problem);
        const Placement current = outdated_placement(random, problem);
        for (int max_moves = 0; max_moves <= 3; ++max_moves) {
            const MoveCurve curve = curve_of(problem, current, max_moves);
            check_curve(problem, current, max_moves, curve);
            Placement placement = current;
            const double best = exhaustive_best(problem, placement, 0, max_moves);
            const double reached = curve.back().imbalance;
            CHECK(reached > best - 1e-9);
            const double possible = curve.front().imbalance - best;
            if (possible < 1e-9)
                continue;
            ++num_cases;
            num_optimal += reached < best + 1e-9;
            left_of_gain += (reached - best) / possible;
        }
    }
    CAPTURE(num_cases, num_optimal, left_of_gain / num_cases);
    CHECK(num_cases > 200);
    CHECK(num_optimal > 0.75 * num_cases);
    CHECK(left_of_gain < 0.07 * num_cases);
}

TEST_CASE("a tenth of the slots takes most of the imbalance away") {
    Random random(2);
    for (int trial = 0; trial < 4; ++trial) {
        PlacementProblem problem = make_problem(16, 9, skewed_loads(random, 128, 0.5));
        if (trial % 2 == 1)
            problem.rank_speed = random_speeds(random, problem.ep_size);
        complete(problem);
        const Placement current = outdated_placement(random, problem);
        const MoveCurve curve = curve_of(problem, current, problem.num_slots() / 5);
        check_curve(problem, current, problem.num_slots() / 5, curve);
        CAPTURE(trial, curve.front().imbalance, curve.back().imbalance, curve.back().num_moves);
        CHECK(curve.back().imbalance - 1 < 0.3 * (curve.front().imbalance - 1));
        // the same with less to spend is never better, and no descent costs more than it may
        const MoveCurve less = curve_of(problem, current, 5);
        check_curve(problem, current, 5, less);
        CHECK(less.back().imbalance < curve.front().imbalance);
        CHECK(less.back().imbalance >= curve.back().imbalance);
    }
}

TEST_CASE("experts that stand twice on a rank are put to use") {
    // 0 carries most of the load, and has two replicas on one rank
    PlacementProblem problem = make_problem(2, 3, {6, 1, 1, 1});
    complete(problem);
    const Placement current{2, 3, {0, 0, 1, 2, 3, 1}};
    const MoveCurve curve = curve_of(problem, current, 6);
    CHECK(curve.front().placement == current);
    CHECK(is_distinct(curve.back().placement));
    // of 9 in all: 0 on both ranks, 1 on both, and one of 2 and 3 on each are 3 + 0.5 + 1
    CHECK(curve.back().imbalance == Approx(1));
    CHECK(curve.back().num_moves == 2);
}

TEST_CASE("experts stay on their nodes") {
    Random random(3);
    PlacementProblem problem = make_problem(8, 5, skewed_loads(random, 32, 0.7));
    complete(problem);
    Deployment deployment = deployment_of(problem);
    deployment.num_nodes = 2;
    Placement current{8, 5, {}};
    for (int rank_id = 0; rank_id < 8; ++rank_id)  // 16 experts in 20 slots of each node
        for (int slot = 0; slot < 5; ++slot)
            current.expert_ids.push_back(rank_id / 4 * 16 + (rank_id % 4 * 5 + slot) % 16);
    check_start(current, deployment, 32, "current.yaml");
    const MoveCurve curve =
        move_curve(problem, deployment, current, 40,
                   [&](const Placement& placement) { return fullest_of(problem, placement); });
    REQUIRE(curve.size() > 3);
    for (const MovePoint& point : curve)
        for (int slot = 0; slot < 40; ++slot)
            CHECK(point.placement.expert_ids[slot] / 16 == slot / 20);
}

TEST_CASE("what few moves cannot put right is refused") {
    const Placement current{4, 2, {0, 1, 2, 3, 1, 4, 5, 0}};
    Deployment deployment;
    deployment.ep_size = 4;
    deployment.num_slots = 8;
    CHECK(error_of([&] { check_start(current, deployment, 6, "now.yaml: layer 3"); }).empty());
    deployment.num_nodes = 2;
    CHECK(error_of([&] { check_start(current, deployment, 6, "now.yaml: layer 3"); }) ==
          "now.yaml: layer 3: has expert 0 on nodes 0 and 1; no few moves change that, so leave "
          "out the bound on moves");
    deployment.num_nodes = 1;
    deployment.min_replicas = 2;
    CHECK(error_of([&] { check_start(current, deployment, 6, "now.yaml: layer 3"); }) ==
          "now.yaml: layer 3: has expert 2 on 1 rank, not 2; no few moves change that, so leave "
          "out the bound on moves");

    // groups of three experts: 0 to 2 on node 0, 3 to 5 on node 1, then one astray
    Deployment groups;
    groups.ep_size = 4;
    groups.num_slots = 8;
    groups.num_nodes = 2;
    groups.num_groups = 2;
    const Placement right{4, 2, {0, 1, 2, 0, 3, 4, 5, 3}};
    CHECK(error_of([&] { check_start(right, groups, 6, "now.yaml"); }).empty());
    const Placement astray{4, 2, {0, 1, 5, 0, 3, 4, 2, 3}};
    CHECK(error_of([&] { check_start(astray, groups, 6, "now.yaml"); }) ==
          "now.yaml: has expert 2 or others of its group on nodes 0 and 1; no few moves change "
          "that, so leave out the bound on moves");
}

TEST_CASE("a curve holds what more moves are better for") {
    const auto point = [](int moves, double imbalance) {
        return MovePoint{moves, imbalance, {1, 1, {moves}}};
    };
    const MoveCurve curve = best_points(
        {point(0, 3), point(2, 3.5), point(4, 1), point(2, 2), point(3, 2), point(9, 1)});
    REQUIRE(curve.size() == 3);
    CHECK(curve[0].num_moves == 0);
    CHECK(curve[1].num_moves == 2);
    CHECK(curve[1].imbalance == 2);
    CHECK(curve[2].num_moves == 4);
}

TEST_CASE("moves go to the layers where they gain most") {
    Random random(4);
    for (int trial = 0; trial < 200; ++trial) {
        std::vector<MoveCurve> curves(random.between(1, 4));
        for (MoveCurve& curve : curves) {
            int moves = 0;
            double imbalance = random.between(10, 1000) / 100.0;
            const int size = random.between(1, 4);
            for (int i = 0; i < size; ++i) {
                curve.push_back({moves, imbalance, {}});
                moves += random.between(1, 5);
                imbalance *= random.uniform();
            }
        }
        double before = std::numeric_limits<double>::infinity();
        for (int max_moves = 0; max_moves < 20; ++max_moves) {
            // every choice of points, as digits of a number
            double best = std::numeric_limits<double>::infinity();
            std::vector<std::size_t> digits(curves.size());
            for (bool is_done = false; !is_done;) {
                double sum = 0;
                int moves = 0;
                for (std::size_t i = 0; i < curves.size(); ++i) {
                    sum += curves[i][digits[i]].imbalance;
                    moves += curves[i][digits[i]].num_moves;
                }
                if (moves <= max_moves)
                    best = std::min(best, sum);
                std::size_t digit = 0;
                while (digit < digits.size() && ++digits[digit] == curves[digit].size())
                    digits[digit++] = 0;
                is_done = digit == digits.size();
            }

            const std::vector<std::size_t> points = distribute_moves(curves, max_moves);
            REQUIRE(points.size() == curves.size());
            double sum = 0;
            int moves = 0;
            for (std::size_t i = 0; i < curves.size(); ++i) {
                sum += curves[i][points[i]].imbalance;
                moves += curves[i][points[i]].num_moves;
            }
            CHECK(moves <= max_moves);
            CHECK(sum == Approx(best));
            CHECK(sum <= before + 1e-12);
            before = sum;
        }
    }
}

}  // namespace eplb::test_bounded_moves
