#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "lib/placement/search/annealing.h"
#include "lib/placement/search/distinct_packing.h"
#include "lib/placement/search/quadratic_annealing.h"
#include "lib/placement/search/risk_search.h"
#include "tests/catch.h"
#include "tests/placement/problems.h"

namespace eplb::test_risk_search {

using eplb::anneal;
using eplb::anneal_quadratic;
using eplb::ExpertMatrix;
using eplb::pack_distinct;
using eplb::Placement;
using eplb::PlacementProblem;
using eplb::replicate;
using eplb::RiskSearch;
using eplb::SlotTable;
using eplb::test::add_covariance;
using eplb::test::add_workloads;
using eplb::test::counts_of;
using eplb::test::fullest_of;
using eplb::test::is_distinct;
using eplb::test::loads_of_ranks;
using eplb::test::make_problem;
using eplb::test::Random;
using eplb::test::random_speeds;
using eplb::test::sum_of;

namespace {

// What the header defines, from a placement alone.
struct Definition {
    const PlacementProblem& problem;
    const Placement& placement;

    std::vector<double> workload(int w) const {
        const auto load = problem.scenario(w);
        return {load.begin(), load.end()};
    }

    // sum over pairs of the rank's slots, equal ones too, of the matrix over the replica counts
    double quadratic(const ExpertMatrix& matrix, int rank) const {
        const std::vector<int> counts = counts_of(placement, problem.num_experts);
        double sum = 0;
        for (const int a : placement.rank(rank))
            for (const int b : placement.rank(rank))
                sum += matrix.at(static_cast<std::size_t>(a), static_cast<std::size_t>(b)) /
                       counts[a] / counts[b];
        return sum;
    }

    // ln of the mean of exp(beta load) of a rank, the ids of an expert being a Poisson count: each
    // number of ids by its probability
    double scattered(double beta, int w, int rank) const {
        const std::vector<int> counts = counts_of(placement, problem.num_experts);
        double sum = 0;
        for (const int expert : placement.rank(rank)) {
            const double mean = problem.ids_per_load * problem.scenario(w)[expert];
            const double per_id =
                beta / problem.ids_per_load / problem.speed(rank) / counts[expert];
            double expected = 0;
            double term = std::exp(-mean);  // probability of k ids, times exp(k per_id)
            for (int k = 1; k < 400; ++k) {
                expected += term;
                term *= mean * std::exp(per_id) / k;
            }
            sum += std::log(expected);
        }
        return sum;
    }

    // of the load divided by the speed
    double variance(int rank) const {
        if (problem.covariance == nullptr)
            return 0;
        return quadratic(*problem.covariance, rank) / problem.speed(rank) / problem.speed(rank);
    }

    // ln(sum of weight exp(exponent)) / beta, for any size of the exponents
    double risk(double beta) const {
        std::vector<double> exponents;
        std::vector<double> factors;
        for (int w = 0; w < problem.num_scenarios(); ++w) {
            const std::vector<double> means = loads_of_ranks(problem, workload(w), placement);
            for (int rank = 0; rank < problem.ep_size; ++rank) {
                const double mean =
                    problem.ids_per_load > 0 ? scattered(beta, w, rank) : beta * means[rank];
                exponents.push_back(mean - beta + beta * beta * variance(rank) / 2);
                factors.push_back(problem.scenario_weight[w]);
            }
        }
        const double most = *std::max_element(exponents.begin(), exponents.end());
        double sum = 0;
        for (std::size_t i = 0; i < exponents.size(); ++i)
            sum += factors[i] * std::exp(exponents[i] - most);
        return (most + std::log(sum)) / beta;
    }
    // each pair of experts once
    double saved_sends() const {
        double sum = 0;
        for (int rank = 0; rank < problem.ep_size; ++rank)
            sum += quadratic(*problem.cooccurrence, rank) / 2;
        return sum;
    }

    // H of anneal_quadratic()
    double quadratic_risk() const {
        double sum = 0;
        for (int rank = 0; rank < problem.ep_size; ++rank)
            sum += variance(rank);
        for (int w = 0; w < problem.num_scenarios(); ++w)
            for (const double mean : loads_of_ranks(problem, workload(w), placement))
                sum += problem.scenario_weight[w] * (mean - 1) * (mean - 1);
        return sum;
    }
};

enum Parts { kCovariance = 1, kWorkloads = 2, kSpeeds = 4, kCooccurrence = 8, kScatter = 16 };

std::shared_ptr<const ExpertMatrix> random_cooccurrence(Random& random, int num_experts) {
    const auto size = static_cast<std::size_t>(num_experts);
    auto matrix = std::make_shared<ExpertMatrix>(size);
    for (std::size_t a = 0; a < size; ++a)
        for (std::size_t b = 0; b < a; ++b)
            matrix->row(a)[b] = matrix->row(b)[a] =
                random.between(0, 4) == 0 ? static_cast<float>(random.uniform() * 0.2) : 0.001F;
    return matrix;
}

PlacementProblem random_problem(Random& random, int parts) {
    const int num_experts = random.between(9, 24);
    const int ep_size = random.between(2, 6);
    const int slots_per_rank =
        std::min(num_experts - 1, (num_experts + ep_size - 1) / ep_size + random.between(0, 3));
    PlacementProblem problem =
        make_problem(ep_size, slots_per_rank, std::vector<double>(num_experts));
    add_workloads(random, (parts & kWorkloads) != 0 ? 3 : 1, problem);
    if ((parts & kCovariance) != 0)
        add_covariance(random, 3, 0.3, problem);
    if ((parts & kSpeeds) != 0)
        problem.rank_speed = random_speeds(random, ep_size);
    if ((parts & kCooccurrence) != 0)
        problem.cooccurrence = random_cooccurrence(random, num_experts);
    if ((parts & kScatter) != 0)
        problem.ids_per_load = 10 + 20 * random.uniform();
    problem.top_k = 4;
    return problem;
}

// Takes steps at random, none that raises the penalties.
void descend(RiskSearch& search) {
    anneal(search, {.num_steps = 10000, .first_temperature = 1e-9, .last_temperature = 1e-9});
}

SlotTable packed(const PlacementProblem& problem) {
    return pack_distinct(problem, problem.load, replicate(problem, problem.load, 0.5));
}

void check_bookkeeping(const PlacementProblem& problem, const RiskSearch& search) {
    const Placement& placement = search.table().placement();
    const Definition definition = {problem, placement};
    REQUIRE(is_distinct(placement));
    REQUIRE(search.risk() == Approx(definition.risk(search.beta())).epsilon(1e-4).margin(1e-5));
    if (problem.cooccurrence != nullptr)
        REQUIRE(search.saved_sends() == Approx(definition.saved_sends()).epsilon(1e-5));
    REQUIRE(search.fullest_load() == Approx(fullest_of(problem, placement)).epsilon(1e-9));
}

}  // namespace

TEST_CASE("risk, sends saved and the fullest load are those of the definitions after descents") {
    Random random(1);
    int num_moved_replicas = 0;
    for (int i = 0; i < 64; ++i) {
        const int parts = i % 32;
        const PlacementProblem problem = random_problem(random, parts);
        CAPTURE(i, problem.num_experts, problem.ep_size, problem.slots_per_rank);
        const SlotTable start = packed(problem);
        RiskSearch search(problem, start);
        check_bookkeeping(problem, search);
        descend(search);
        check_bookkeeping(problem, search);
        search.set_beta(3 + 2 * (i % 5));
        descend(search);
        check_bookkeeping(problem, search);
        search.limit_fullest(1.01);
        check_bookkeeping(problem, search);
        if ((parts & kCooccurrence) != 0) {
            search.set_traffic_weight(0.5);
            descend(search);
            check_bookkeeping(problem, search);
        }
        num_moved_replicas += counts_of(search.table().placement(), problem.num_experts) !=
                              counts_of(start.placement(), problem.num_experts);
    }
    CHECK(num_moved_replicas >= 20);
}

TEST_CASE("a descent never raises the risk, and mostly lowers it") {
    Random random(3);
    int num_lower = 0;
    for (int i = 0; i < 80; ++i) {
        const PlacementProblem problem = random_problem(random, i % 8);
        RiskSearch search(problem, packed(problem));
        const double beta = search.beta();
        const Placement start = search.table().placement();
        const double before = Definition{problem, start}.risk(beta);
        descend(search);
        const double after = Definition{problem, search.table().placement()}.risk(beta);
        CAPTURE(i, beta);
        REQUIRE(search.beta() == beta);
        REQUIRE(after <= before + 1e-5 * std::abs(before));
        num_lower += after < before * 0.99 ? 1 : 0;
    }
    CHECK(num_lower >= 40);
}

TEST_CASE("after a descent no exchange of two slots lowers the risk by much") {
    Random random(4);
    for (int i = 0; i < 24; ++i) {
        const PlacementProblem problem = random_problem(random, i % 8);
        RiskSearch search(problem, packed(problem));
        descend(search);
        const SlotTable& table = search.table();
        const double risk = Definition{problem, table.placement()}.risk(search.beta());
        for (int slot = 0; slot < table.num_slots(); ++slot)
            for (int other = 0; other < slot; ++other) {
                if (table.rank_of(slot) == table.rank_of(other) || !table.may_swap(slot, other))
                    continue;
                Placement changed = table.placement();
                std::swap(changed.expert_ids[slot], changed.expert_ids[other]);
                REQUIRE(Definition{problem, changed}.risk(search.beta()) >= risk - 1e-5);
            }
    }
}

TEST_CASE("what a step gains is what the penalties fall by, and is known early only to be less") {
    Random random(12);
    int num_stopped = 0;
    for (int i = 0; i < 32; ++i) {
        const PlacementProblem problem = random_problem(random, i);
        RiskSearch search(problem, packed(problem));
        if (problem.cooccurrence != nullptr)
            search.set_traffic_weight(0.3);
        const auto penalties = [&](const RiskSearch& of) {
            double sum = 0;
            for (int rank = 0; rank < problem.ep_size; ++rank)
                sum += of.rank_penalty(rank);
            return sum;
        };
        const SlotTable& table = search.table();
        const auto check = [&](double gain, double early, double least, RiskSearch& other) {
            REQUIRE(penalties(search) - penalties(other) ==
                    Approx(gain).epsilon(1e-3).margin(1e-5));
            if (early != gain) {
                REQUIRE(gain < least + 1e-5);
                ++num_stopped;
            }
            // and from the beginning, without the rounding of steps
            const double before = other.risk();
            other.rebuild();
            REQUIRE(other.risk() == Approx(before).epsilon(1e-4).margin(1e-5));
        };
        for (int step = 0; step < 40; ++step) {
            const int slot = random.between(0, table.num_slots() - 1);
            const int other_slot = random.between(0, table.num_slots() - 1);
            const int expert = random.between(0, problem.num_experts - 1);
            const double least = -0.2 * random.uniform();
            RiskSearch other = search;
            if (table.rank_of(slot) != table.rank_of(other_slot) &&
                table.may_swap(slot, other_slot)) {
                const double early = search.swap_gain(slot, other_slot, least);
                const double gain = search.swap_gain(slot, other_slot);
                other.swap(slot, other_slot);
                check(gain, early, least, other);
            }
            other = search;
            if (table.replicas(table.expert(slot)) > 1 &&
                !table.hosts(table.rank_of(slot), expert)) {
                const double early = search.replica_gain(slot, expert, least);
                const double gain = search.replica_gain(slot, expert);
                other.move_replica(slot, expert);
                check(gain, early, least, other);
            }
        }
    }
    CHECK(num_stopped >= 50);
}

TEST_CASE("a forced imbalance far above the noise is still told apart") {
    // hardly any noise, so that beta is in the thousands; one expert fills a rank and a half
    PlacementProblem problem = make_problem(4, 2, {1.5, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.25});
    problem.scenario_load = problem.load;
    problem.scenario_weight = {1};
    auto covariance = std::make_shared<ExpertMatrix>(8);
    for (std::size_t expert = 0; expert < 8; ++expert)
        covariance->row(expert)[expert] = 1e-9F;
    problem.covariance = covariance;
    // the heavy expert beside the heaviest that is left
    RiskSearch search(problem, SlotTable({4, 2, {0, 1, 2, 3, 4, 5, 6, 7}}, 8));
    check_bookkeeping(problem, search);
    descend(search);
    check_bookkeeping(problem, search);
    // the best that any placement can do for it is one of the two lightest
    CHECK(search.fullest_load() == Approx(1.75));
}

TEST_CASE("beta follows the spread of the ranks' loads") {
    Random random(5);
    for (int i = 0; i < 10; ++i) {
        PlacementProblem problem = random_problem(random, kCovariance);
        const SlotTable table = packed(problem);
        const double beta = RiskSearch(problem, table).beta();
        auto wider = std::make_shared<ExpertMatrix>(*problem.covariance);
        for (std::size_t expert = 0; expert < problem.load.size(); ++expert)
            for (float& value : wider->row(expert))
                value *= 4;
        problem.covariance = wider;
        CHECK(RiskSearch(problem, table).beta() == Approx(beta / 2));
    }
    // and that of tokens that scatter: a count's variance is its mean
    for (int i = 0; i < 10; ++i) {
        PlacementProblem problem = random_problem(random, kScatter);
        problem.ids_per_load += 20;
        const SlotTable table = packed(problem);
        const std::vector<int> counts = counts_of(table.placement(), problem.num_experts);
        double variance = 0;
        for (int expert = 0; expert < problem.num_experts; ++expert)
            variance += problem.scenario(0)[expert] / problem.ids_per_load / counts[expert] /
                        problem.ep_size;
        CHECK(RiskSearch(problem, table).beta() ==
              Approx(0.6 * std::sqrt(2 * std::log(problem.ep_size) / variance)));
    }
}

TEST_CASE("a few ids on one hot expert leave the risk finite, and its parts") {
    for (const double ids : {0.01, 0.3, 4.0}) {
        PlacementProblem problem = make_problem(4, 3, {3.5, 0.1, 0.1, 0.1, 0.1, 0.1});
        problem.scenario_load = problem.load;
        problem.scenario_load.insert(problem.scenario_load.end(), {0, 0, 0, 0, 0, 4});
        problem.scenario_weight = {0.5, 0.5};
        problem.ids_per_load = ids;
        RiskSearch search(problem, packed(problem));
        CAPTURE(ids, search.beta());
        CHECK(search.beta() > 0);
        descend(search);
        CHECK(std::isfinite(search.risk()));
        double sum = 0;
        for (int rank = 0; rank < problem.ep_size; ++rank) {
            CHECK(std::isfinite(search.rank_penalty(rank)));
            sum += search.rank_penalty(rank);
        }
        CHECK(sum == Approx(1).epsilon(1e-3));  // as rebuilt
    }
}

// expected imbalance of normal loads with mean and covariance as in the problem, by simulation
TEST_CASE("the risk is an upper bound of the expected imbalance of normal loads, for every beta") {
    Random random(6);
    for (int i = 0; i < 12; ++i) {
        PlacementProblem problem = random_problem(random, (i % 2) * kWorkloads | (i % 3) * kSpeeds);
        // loads of expert e: mean + sum over factors of moves[factor][e] * normal
        constexpr int kNumFactors = 4;
        const std::size_t num_experts = problem.load.size();
        std::vector<std::vector<double>> moves;
        for (std::size_t factor = 0; factor < kNumFactors + num_experts; ++factor) {
            std::vector<double> row(num_experts);
            for (std::size_t expert = 0; expert < num_experts; ++expert)
                if (factor < kNumFactors)
                    row[expert] = 0.3 * problem.load[expert] * random.between(-1, 1);
                else if (factor - kNumFactors == expert)
                    row[expert] = 0.2 * problem.load[expert];
            moves.push_back(std::move(row));
        }
        auto covariance = std::make_shared<ExpertMatrix>(num_experts);
        for (const std::vector<double>& row : moves)
            for (std::size_t a = 0; a < num_experts; ++a)
                for (std::size_t b = 0; b < num_experts; ++b)
                    covariance->row(a)[b] += static_cast<float>(row[a] * row[b]);
        problem.covariance = covariance;

        RiskSearch search(problem, packed(problem));
        descend(search);
        const Placement& placement = search.table().placement();
        constexpr int kNumSamples = 2000;
        double sum = 0;
        double squares = 0;
        for (int sample = 0; sample < kNumSamples; ++sample) {
            double imbalance = 0;
            std::vector<double> noise(num_experts);
            for (const std::vector<double>& row : moves) {
                const double normal = random.normal();
                for (std::size_t expert = 0; expert < num_experts; ++expert)
                    noise[expert] += row[expert] * normal;
            }
            for (int w = 0; w < problem.num_scenarios(); ++w) {
                std::vector<double> load = noise;
                for (std::size_t expert = 0; expert < num_experts; ++expert)
                    load[expert] += problem.scenario(w)[expert];
                const std::vector<double> ranks = loads_of_ranks(problem, load, placement);
                imbalance += problem.scenario_weight[w] *
                             (*std::max_element(ranks.begin(), ranks.end()) - 1);
            }
            sum += imbalance;
            squares += imbalance * imbalance;
        }
        const double mean = sum / kNumSamples;
        const double error = std::sqrt((squares / kNumSamples - mean * mean) / kNumSamples);
        for (const double beta : {0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 20.0, 40.0}) {
            search.set_beta(beta);
            CHECK(search.risk() >= mean - 3 * error);
        }
    }
}

TEST_CASE("for alike, independent ranks the risk is ln(ep_size) / beta + beta variance / 2") {
    PlacementProblem problem = make_problem(8, 1, std::vector<double>(8, 1.0));
    problem.scenario_load = problem.load;
    problem.scenario_weight = {1};
    auto covariance = std::make_shared<ExpertMatrix>(8);
    for (std::size_t expert = 0; expert < 8; ++expert)
        covariance->row(expert)[expert] = 0.01F;
    problem.covariance = covariance;
    RiskSearch search(problem, SlotTable({8, 1, {0, 1, 2, 3, 4, 5, 6, 7}}, 8));
    for (const double beta : {0.1, 5.0, 20.0, 100.0}) {
        search.set_beta(beta);
        CHECK(search.risk() == Approx(std::log(8) / beta + beta * 0.01 / 2).epsilon(1e-5));
    }
}

TEST_CASE("two hot experts that rise together end on different ranks") {
    for (const double correlation : {1.0, 0.6}) {
        PlacementProblem problem = make_problem(2, 3, {0.5, 0.5, 0.25, 0.25, 0.25, 0.25});
        problem.scenario_load = problem.load;
        problem.scenario_weight = {1};
        auto covariance = std::make_shared<ExpertMatrix>(6);
        for (std::size_t expert = 0; expert < 6; ++expert)
            covariance->row(expert)[expert] = expert < 2 ? 0.04F : 0.01F;
        covariance->row(0)[1] = covariance->row(1)[0] = static_cast<float>(0.04 * correlation);
        problem.covariance = covariance;
        RiskSearch search(problem, SlotTable({2, 3, {0, 1, 2, 3, 4, 5}}, 6));
        descend(search);
        CHECK(search.table().hosts(0, 0) != search.table().hosts(0, 1));
        CHECK(search.table().replicas(0) == 1);
    }
}

TEST_CASE("two experts that no workload has hot together may share a rank, and else may not") {
    PlacementProblem problem = make_problem(2, 2, {0.5, 0.5, 0.5, 0.5});
    problem.scenario_load = {0.8, 0.8, 0.2, 0.2, 0.2, 0.2, 0.8, 0.8};
    problem.scenario_weight = {0.5, 0.5};
    RiskSearch search(problem, SlotTable({2, 2, {0, 1, 2, 3}}, 4));
    descend(search);
    CHECK(search.table().hosts(0, 0) != search.table().hosts(0, 1));
    CHECK(search.table().hosts(0, 2) != search.table().hosts(0, 3));
    // both ranks carry 1 of both workloads
    CHECK(search.risk() == Approx(std::log(2.0) / search.beta()).margin(1e-5));
}

TEST_CASE("traffic counts as its weight says") {
    Random random(7);
    int num_saved = 0;
    for (int i = 0; i < 20; ++i) {
        const PlacementProblem problem = random_problem(random, kCovariance | kCooccurrence);
        RiskSearch search(problem, packed(problem));
        descend(search);
        const double risk = search.risk();
        const double saved = search.saved_sends();
        constexpr double kWeight = 0.5;
        search.set_traffic_weight(kWeight);
        descend(search);
        // what is gained in sends per routed id is worth the imbalance, where both change little
        const double paid = search.risk() - risk;
        const double gained = (search.saved_sends() - saved) / problem.top_k;
        CHECK(gained >= -1e-9);
        CHECK(paid <= kWeight * gained * 1.0001 + 1e-9);
        num_saved += gained > 0.001 ? 1 : 0;
    }
    CHECK(num_saved >= 15);
}

TEST_CASE("annealing lowers H where there is structure, by exchanges alone") {
    Random random(8);
    for (int i = 0; i < 24; ++i) {
        const PlacementProblem problem =
            random_problem(random, (i % 2 == 0 ? kCovariance : kWorkloads) |
                                       (i % 3 == 0 ? kCovariance | kWorkloads : 0));
        const SlotTable start = packed(problem);
        const SlotTable end = anneal_quadratic(problem, start, 20000, 5);
        REQUIRE(is_distinct(end.placement()));
        REQUIRE(counts_of(end.placement(), problem.num_experts) ==
                counts_of(start.placement(), problem.num_experts));
        const Placement& before = start.placement();
        const Placement& after = end.placement();
        CHECK(Definition{problem, after}.quadratic_risk() <=
              Definition{problem, before}.quadratic_risk() * (1 + 1e-3));
    }
}

TEST_CASE("annealing finds the pairs that cancel") {
    // expert 2i rises when 2i + 1 falls, and all else is alike: the best ranks hold both
    constexpr std::size_t kNumExperts = 32;
    PlacementProblem problem =
        make_problem(8, 4, std::vector<double>(kNumExperts, 8.0 / kNumExperts));
    problem.scenario_load = problem.load;
    problem.scenario_weight = {1};
    auto covariance = std::make_shared<ExpertMatrix>(kNumExperts);
    for (std::size_t expert = 0; expert < kNumExperts; ++expert) {
        covariance->row(expert)[expert] = 0.01F;
        covariance->row(expert)[expert ^ 1] = -0.01F;
    }
    problem.covariance = covariance;
    Random random(9);
    Placement start = {8, 4, {}};
    for (int expert = 0; expert < static_cast<int>(kNumExperts); ++expert)
        start.expert_ids.push_back(expert);
    random.shuffle(start.expert_ids);
    const SlotTable end = anneal_quadratic(problem, SlotTable(start, kNumExperts), 100000, 0);
    const Placement& after = end.placement();
    CHECK(Definition{problem, start}.quadratic_risk() > 0.2);
    CHECK(Definition{problem, after}.quadratic_risk() == Approx(0).margin(1e-6));
}

TEST_CASE("annealing is a function of its seed") {
    Random random(10);
    const PlacementProblem problem = random_problem(random, kCovariance | kWorkloads);
    const SlotTable start = packed(problem);
    CHECK(anneal_quadratic(problem, start, 5000, 1).placement() ==
          anneal_quadratic(problem, start, 5000, 1).placement());
    CHECK(anneal_quadratic(problem, start, 5000, 1).placement() !=
          anneal_quadratic(problem, start, 5000, 2).placement());
}

TEST_CASE("the fullest rank is brought down to a limit that is in reach") {
    Random random(11);
    for (int i = 0; i < 20; ++i) {
        // many light experts, so that any limit above the mean is in reach
        PlacementProblem problem = make_problem(6, 12, std::vector<double>(60));
        add_workloads(random, 1, problem);
        add_covariance(random, 4, 0.3, problem);
        if (i % 2 == 0)
            problem.rank_speed = {0.9, 1, 1.1, 0.95, 1.05, 1};
        RiskSearch search(problem, packed(problem));
        search.set_beta(1);  // a beta this low leaves the summed load out of balance
        descend(search);
        const std::vector<int> counts = counts_of(search.table().placement(), 60);
        const double limit = problem.mean_load() * 1.02;
        const double before = search.fullest_load();
        search.limit_fullest(limit);
        CAPTURE(i, before);
        CHECK(search.fullest_load() <= limit);
        check_bookkeeping(problem, search);
        CHECK(counts_of(search.table().placement(), 60) == counts);
        const Placement reached = search.table().placement();
        search.limit_fullest(limit);  // nothing is left to do
        CHECK(search.table().placement() == reached);
    }
}

}  // namespace eplb::test_risk_search
