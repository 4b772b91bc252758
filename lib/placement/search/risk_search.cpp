#include "lib/placement/search/risk_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "lib/base/fast_exp.h"

namespace eplb {
namespace {

// beta = kStrength * sqrt(2 ln ep_size) / sigma: at 1 the bound of independent normals is tightest;
// below it, outliers weigh less, which does better on iterations not seen
constexpr double kStrength = 0.6;

// of what one slot adds to an exponent, of beta^2 V_j / 2, and half of what ranks' exponents differ
// by: powers, terms and their products stay within single precision
constexpr double kLargestExponent = 40;
constexpr double kBetaStep = 0.8;  // towards such a beta

constexpr std::size_t kLanes = 8;
constexpr int kMaxLimitSteps = 400;

// Sums lane by lane, so that the order is the same whatever the compiler does.
double sum_of_lanes(const std::array<float, kLanes>& lanes) {
    return static_cast<double>(((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
                               ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7])));
}

// row += u * of_expert + z * of_other
void add_rows(std::span<float> row,
              double u,
              std::span<const float> of_expert,
              double z,
              std::span<const float> of_other) {
    const auto first = static_cast<float>(u);
    const auto second = static_cast<float>(z);
    for (std::size_t i = 0; i < row.size(); ++i)
        row[i] += first * of_expert[i] + second * of_other[i];
}

std::span<float> row_of(std::vector<float>& rows, int rank_id, std::size_t size) {
    return std::span(rows).subspan(static_cast<std::size_t>(rank_id) * size, size);
}

std::span<const float> row_of(const std::vector<float>& rows, int rank_id, std::size_t size) {
    return std::span(rows).subspan(static_cast<std::size_t>(rank_id) * size, size);
}

// What a quadratic form of the rank's shares grows by, of which `row` is the product with each
// expert.
double growth(const ExpertMatrix& matrix,
              std::span<const float> row,
              int expert,
              double u,
              int other,
              double z) {
    return 2 * u * row[expert] + 2 * z * row[other] + u * u * matrix.at(expert, expert) +
           z * z * matrix.at(other, other) + 2 * u * z * matrix.at(expert, other);
}

}  // namespace

RiskSearch::RiskSearch(const PlacementProblem& problem, SlotTable table)
    : problem_(&problem),
      covariance_(problem.covariance.get()),
      cooccurrence_(problem.cooccurrence.get()),
      table_(std::move(table)),
      num_experts_(problem.load.size()),
      num_terms_((problem.scenario_weight.size() + kLanes - 1) / kLanes * kLanes),
      speed_class_(problem.ep_size),
      loads_(num_experts_ * num_terms_),
      terms_(problem.ep_size * num_terms_),
      with_experts_(covariance_ == nullptr ? 0 : problem.ep_size * num_experts_),
      taken_with_(cooccurrence_ == nullptr ? 0 : problem.ep_size * num_experts_),
      ranks_(problem.ep_size),
      hosts_(num_experts_) {
    for (int rank_id = 0; rank_id < problem.ep_size; ++rank_id) {
        const auto known = std::find(speeds_.begin(), speeds_.end(), problem.speed(rank_id));
        speed_class_[rank_id] = static_cast<int>(known - speeds_.begin());
        if (known == speeds_.end())
            speeds_.push_back(problem.speed(rank_id));
    }
    powers_.resize(speeds_.size() * num_experts_ * kNumPowers * num_terms_);
    for (int s = 0; s < problem.num_scenarios(); ++s)
        for (std::size_t expert = 0; expert < num_experts_; ++expert)
            loads_[expert * num_terms_ + s] = static_cast<float>(problem.scenario(s)[expert]);
    for (int expert = 0; expert < table_.num_experts(); ++expert)
        for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id)
            if (table_.hosts(rank_id, expert))
                hosts_[expert].push_back(rank_id);
    fit_beta();
}

void RiskSearch::set_powers(int expert) {
    const float* const load = &loads_[expert * num_terms_];
    const int count = table_.replicas(expert);
    constexpr std::array<std::pair<Power, int>, 3> kCounts = {
        {{kShare, 0}, {kFewer, -1}, {kMore, 1}}};
    for (std::size_t speed = 0; speed < speeds_.size(); ++speed) {
        float* const rows = &powers_[(speed * num_experts_ + expert) * kNumPowers * num_terms_];
        for (const auto& [kind, more] : kCounts) {
            float* const row = rows + kind * num_terms_;
            const auto factor =
                static_cast<float>(exponent(beta_, speeds_[speed], std::max(count + more, 1)));
            for (std::size_t i = 0; i < num_terms_; ++i)
                row[i] = fast_exp(factor * load[i]);
        }
        for (std::size_t i = 0; i < num_terms_; ++i)
            rows[kInverse * num_terms_ + i] = 1 / rows[kShare * num_terms_ + i];
    }
}

// g: what a load of 1, shared by so many replicas, adds to the exponent of a rank.
double RiskSearch::exponent(double beta, double speed, int num_replicas) const {
    const double plain = beta / speed / num_replicas;
    const double ids = problem_->ids_per_load;
    return ids > 0 ? ids * std::expm1(plain / ids) : plain;
}

// sums: [num_scenarios], of the rank's experts' loads, each times the factor of its replica count.
template <typename FactorOf>
void RiskSearch::sum_loads(int rank_id,
                           const FactorOf& factor_of,
                           std::vector<double>& sums) const {
    sums.assign(problem_->num_scenarios(), 0);
    for (const int expert : table_.rank(rank_id)) {
        const double factor = factor_of(table_.replicas(expert));
        const float* const load = &loads_[expert * num_terms_];
        for (std::size_t s = 0; s < sums.size(); ++s)
            sums[s] += factor * static_cast<double>(load[s]);
    }
}

// m_js: [num_scenarios].
void RiskSearch::set_exponents(int rank_id, double beta, std::vector<double>& exponents) const {
    sum_loads(
        rank_id,
        [&](int num_replicas) { return exponent(beta, problem_->speed(rank_id), num_replicas); },
        exponents);
}

void RiskSearch::set_quadratics(int rank_id) {
    const auto set = [&](const ExpertMatrix* matrix, std::vector<float>& rows) {
        if (matrix == nullptr)
            return 0.0;
        const std::span<float> row = row_of(rows, rank_id, num_experts_);
        std::fill(row.begin(), row.end(), 0.0F);
        for (const int expert : table_.rank(rank_id))
            add_rows(row, 1.0 / table_.replicas(expert), matrix->row(expert), 0,
                     matrix->row(expert));
        double sum = 0;
        for (const int expert : table_.rank(rank_id))
            sum += static_cast<double>(row[expert]) / table_.replicas(expert);
        return sum;
    };
    ranks_[rank_id].variance = set(covariance_, with_experts_);
    ranks_[rank_id].together = set(cooccurrence_, taken_with_) / 2;
}

// Whether all powers and terms, and the products of those that steps multiply, are floats.
bool RiskSearch::is_representable(double beta) const {
    double least = std::numeric_limits<double>::infinity();
    double most = 0;
    std::vector<double> exponents;
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        const double speed = problem_->speed(rank_id);
        if (beta * beta / speed / speed * ranks_[rank_id].variance / 2 > kLargestExponent)
            return false;
        for (const int expert : table_.rank(rank_id)) {
            const float* const load = &loads_[expert * num_terms_];
            const auto largest = static_cast<double>(*std::max_element(load, load + num_terms_));
            if (largest * exponent(beta, speed, table_.replicas(expert)) > kLargestExponent)
                return false;
        }
        set_exponents(rank_id, beta, exponents);
        const auto [low, high] = std::minmax_element(exponents.begin(), exponents.end());
        least = std::min(least, *low);
        most = std::max(most, *high);
    }
    return most - least <= 2 * kLargestExponent;
}

void RiskSearch::fit_beta() {
    const double ids = problem_->ids_per_load;
    double variance = 0;
    std::vector<double> loads;
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        set_quadratics(rank_id);
        sum_loads(
            rank_id, [](int num_replicas) { return 1.0 / num_replicas; }, loads);
        double around = ranks_[rank_id].variance;
        if (ids > 0)
            for (const int expert : table_.rank(rank_id))
                around += problem_->load[expert] / table_.replicas(expert) /
                          table_.replicas(expert) / ids;
        double mean = 0;
        double square = 0;
        for (std::size_t s = 0; s < loads.size(); ++s) {
            mean += problem_->scenario_weight[s] * loads[s];
            square += problem_->scenario_weight[s] * loads[s] * loads[s];
        }
        const double speed = problem_->speed(rank_id);
        variance += (square - mean * mean + around) / (speed * speed) / table_.ep_size();
    }
    const double mean_load = problem_->mean_load();
    const double least_variance = std::max(1e-8 * mean_load * mean_load, 1e-30);
    double beta = kStrength * std::sqrt(2 * std::log(std::max(2, table_.ep_size()))) /
                  std::sqrt(std::max(variance, least_variance));
    while (!is_representable(beta))
        beta *= kBetaStep;
    set_beta(beta);
}

void RiskSearch::set_beta(double beta) {
    beta_ = beta;
    for (int expert = 0; expert < table_.num_experts(); ++expert)
        set_powers(expert);
    rebuild();
}

void RiskSearch::rebuild() {
    std::vector<std::vector<double>> exponents(ranks_.size());
    double largest = -std::numeric_limits<double>::infinity();
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        Rank& rank = ranks_[rank_id];
        const double scale = beta_ / problem_->speed(rank_id);
        rank.half_square = scale * scale / 2;
        set_quadratics(rank_id);
        set_exponents(rank_id, beta_, exponents[rank_id]);
        for (const double exponent : exponents[rank_id])
            largest = std::max(largest, exponent + rank.half_square * rank.variance);
    }
    // so that the penalties sum to 1
    double sum = 0;
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        const double spread = ranks_[rank_id].half_square * ranks_[rank_id].variance;
        for (std::size_t s = 0; s < exponents[rank_id].size(); ++s)
            sum +=
                problem_->scenario_weight[s] * fast_exp(exponents[rank_id][s] + spread - largest);
    }
    offset_ = largest + std::log(sum);
    send_price_ = traffic_weight_ * beta_ / problem_->top_k;  // d(ln(Q) / beta) = dQ / (beta Q)
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        Rank& rank = ranks_[rank_id];
        const std::span<float> terms = row_of(terms_, rank_id, num_terms_);
        for (std::size_t s = 0; s < exponents[rank_id].size(); ++s)
            terms[s] = static_cast<float>(problem_->scenario_weight[s] *
                                          fast_exp(exponents[rank_id][s] - offset_));
        rank.sum = product_sum({rank_id, 0, 0, 0, 0});
        rank.penalty = penalty(rank);
    }
}

double RiskSearch::penalty(const Rank& rank) const {
    double sum = rank.sum;
    if (covariance_ != nullptr)
        sum *= static_cast<double>(fast_exp(static_cast<float>(rank.half_square * rank.variance)));
    return sum - send_price_ * rank.together;
}

double RiskSearch::product_sum(const Effect& effect) const {
    const float* const terms = &terms_[effect.rank_id * num_terms_];
    const float* const* const factors = factors_.data() + effect.first_factor;
    std::array<float, kLanes> sums = {};
    if (effect.num_factors == 2) {  // the usual case, and the quickest
        const float* const first = factors[0];
        const float* const second = factors[1];
        for (std::size_t i = 0; i < num_terms_; i += kLanes)
            for (std::size_t lane = 0; lane < kLanes; ++lane)
                sums[lane] += terms[i + lane] * first[i + lane] * second[i + lane];
        return sum_of_lanes(sums);
    }
    for (std::size_t i = 0; i < num_terms_; i += kLanes) {
        std::array<float, kLanes> product;
        for (std::size_t lane = 0; lane < kLanes; ++lane)
            product[lane] = terms[i + lane];
        for (std::size_t k = 0; k < effect.num_factors; ++k)
            for (std::size_t lane = 0; lane < kLanes; ++lane)
                product[lane] *= factors[k][i + lane];
        for (std::size_t lane = 0; lane < kLanes; ++lane)
            sums[lane] += product[lane];
    }
    return sum_of_lanes(sums);
}

double RiskSearch::variance_after(const Effect& effect) const {
    const double before = ranks_[effect.rank_id].variance;
    if (covariance_ == nullptr)
        return before;
    return before + growth(*covariance_, row_of(with_experts_, effect.rank_id, num_experts_),
                           expert_, effect.u, other_expert_, effect.z);
}

double RiskSearch::together_after(const Effect& effect) const {
    const double before = ranks_[effect.rank_id].together;
    if (cooccurrence_ == nullptr)
        return before;
    return before + growth(*cooccurrence_, row_of(taken_with_, effect.rank_id, num_experts_),
                           expert_, effect.u, other_expert_, effect.z) /
                        2;
}

double RiskSearch::penalty_after(const Effect& effect) const {
    return penalty({ranks_[effect.rank_id].half_square, product_sum(effect), variance_after(effect),
                    together_after(effect), 0});
}

void RiskSearch::begin_step(int expert, int other_expert) {
    expert_ = expert;
    other_expert_ = other_expert;
    effects_.clear();
    factors_.clear();
}

void RiskSearch::list_swap(int slot, int other) {
    const int expert = table_.expert(slot);
    const int other_expert = table_.expert(other);
    const double share = 1.0 / table_.replicas(expert);
    const double other_share = 1.0 / table_.replicas(other_expert);
    begin_step(expert, other_expert);
    add_effect(table_.rank_of(other), share, -other_share);
    add_factor(table_.rank_of(other), expert, kShare, 1);
    add_factor(table_.rank_of(other), other_expert, kInverse, 1);
    add_effect(table_.rank_of(slot), -share, other_share);
    add_factor(table_.rank_of(slot), expert, kInverse, 1);
    add_factor(table_.rank_of(slot), other_expert, kShare, 1);
}

// First the ranks that get more, so that a bad step is known early.
void RiskSearch::list_replica(int slot, int expert) {
    const int loser = table_.expert(slot);
    const double share = 1.0 / table_.replicas(loser);
    const double fewer = 1.0 / (table_.replicas(loser) - 1);
    const double other_share = 1.0 / table_.replicas(expert);
    const double more = 1.0 / (table_.replicas(expert) + 1);
    begin_step(loser, expert);
    const auto add = [&](int rank_id) {
        const int moved = rank_id == table_.rank_of(slot) ? 1 : 0;
        const int copies = table_.copies(rank_id, loser);
        const int other_copies = table_.copies(rank_id, expert);
        add_effect(rank_id, (copies - moved) * fewer - copies * share,
                   (other_copies + moved) * more - other_copies * other_share);
        add_factor(rank_id, loser, kInverse, copies);
        add_factor(rank_id, loser, kFewer, copies - moved);
        add_factor(rank_id, expert, kInverse, other_copies);
        add_factor(rank_id, expert, kMore, other_copies + moved);
    };
    for (const int rank_id : hosts_[loser])
        add(rank_id);
    for (const int rank_id : hosts_[expert])
        if (!table_.hosts(rank_id, loser))
            add(rank_id);
}

double RiskSearch::gain_of_effects(double least) const {
    // no penalty can fall by more than all of it
    double most = 0;
    for (const Effect& effect : effects_)
        most += ranks_[effect.rank_id].penalty;
    const bool can_stop = send_price_ == 0;
    for (const Effect& effect : effects_) {
        most -= penalty_after(effect);
        if (can_stop && most < least)
            return kAny;
    }
    return most;
}

void RiskSearch::apply_effects() {
    for (const Effect& effect : effects_) {
        Rank& rank = ranks_[effect.rank_id];
        rank.variance = variance_after(effect);
        rank.together = together_after(effect);
        const auto add = [&](const ExpertMatrix* matrix, std::vector<float>& rows) {
            if (matrix != nullptr)
                add_rows(row_of(rows, effect.rank_id, num_experts_), effect.u, matrix->row(expert_),
                         effect.z, matrix->row(other_expert_));
        };
        add(covariance_, with_experts_);
        add(cooccurrence_, taken_with_);
        float* const terms = &terms_[effect.rank_id * num_terms_];
        for (std::size_t k = 0; k < effect.num_factors; ++k) {
            const float* const factor = factors_[effect.first_factor + k];
            for (std::size_t i = 0; i < num_terms_; ++i)
                terms[i] *= factor[i];
        }
        rank.sum = product_sum({effect.rank_id, 0, 0, 0, 0});
        rank.penalty = penalty(rank);
    }
}

double RiskSearch::swap_gain(int slot, int other, double least) {
    list_swap(slot, other);
    return gain_of_effects(least);
}

double RiskSearch::replica_gain(int slot, int expert, double least) {
    list_replica(slot, expert);
    return gain_of_effects(least);
}

void RiskSearch::swap(int slot, int other) {
    list_swap(slot, other);
    apply_effects();
    table_.swap(slot, other);
    for (const int changed : {expert_, other_expert_}) {
        std::vector<int>& ranks = hosts_[changed];
        for (const int at : {slot, other}) {
            const int rank_id = table_.rank_of(at);
            const auto known = std::find(ranks.begin(), ranks.end(), rank_id);
            if (table_.hosts(rank_id, changed) && known == ranks.end())
                ranks.push_back(rank_id);
            else if (!table_.hosts(rank_id, changed) && known != ranks.end())
                ranks.erase(known);
        }
    }
}

void RiskSearch::move_replica(int slot, int expert) {
    list_replica(slot, expert);
    apply_effects();
    const int rank_id = table_.rank_of(slot);
    const int loser = expert_;
    const bool was_hosted = table_.hosts(rank_id, expert);
    table_.replace(slot, expert);
    if (!table_.hosts(rank_id, loser))
        std::erase(hosts_[loser], rank_id);
    if (!was_hosted)
        hosts_[expert].push_back(rank_id);
    set_powers(loser);
    set_powers(expert);
}

double RiskSearch::risk() const {
    double sum = 0;
    for (const Rank& rank : ranks_)
        sum += rank.penalty + send_price_ * rank.together;
    return (std::log(sum) + offset_) / beta_ - 1;
}

double RiskSearch::saved_sends() const {
    double sum = 0;
    for (const Rank& rank : ranks_)
        sum += rank.together;
    return sum;
}

void RiskSearch::set_traffic_weight(double weight) {
    traffic_weight_ = weight;
    rebuild();
}

double RiskSearch::load_of(int rank_id) const {
    double load = 0;
    for (const int expert : table_.rank(rank_id))
        load += problem_->load[expert] / table_.replicas(expert);
    return load / problem_->speed(rank_id);
}

int RiskSearch::fullest_rank() const {
    int fullest = 0;
    for (int rank_id = 1; rank_id < table_.ep_size(); ++rank_id)
        if (load_of(rank_id) > load_of(fullest))
            fullest = rank_id;
    return fullest;
}

double RiskSearch::fullest_load() const {
    return load_of(fullest_rank());
}

void RiskSearch::limit_fullest(double limit) {
    const int slots_per_rank = table_.slots_per_rank();
    const auto replica_load = [&](int slot) {
        return problem_->load[table_.expert(slot)] / table_.replicas(table_.expert(slot));
    };
    for (int step = 0; step < kMaxLimitSteps; ++step) {
        const int fullest = fullest_rank();
        const double full = load_of(fullest);
        if (full <= limit)
            return;
        // at least a quarter of the way, or a step is not worth its price
        const double below = full - (full - limit) / 4;
        double best = kAny;
        int best_slot = -1;
        int best_other = -1;
        for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
            const double load = load_of(rank_id);
            if (rank_id == fullest || load >= below)
                continue;
            for (int other = rank_id * slots_per_rank; other < (rank_id + 1) * slots_per_rank;
                 ++other)
                for (int slot = fullest * slots_per_rank; slot < (fullest + 1) * slots_per_rank;
                     ++slot) {
                    const double difference = replica_load(slot) - replica_load(other);
                    if (difference <= 0 || full - difference / problem_->speed(fullest) >= below ||
                        load + difference / problem_->speed(rank_id) >= below ||
                        !table_.may_swap(slot, other))
                        continue;
                    const double gain = swap_gain(slot, other);
                    if (best_slot < 0 || gain > best) {
                        best = gain;
                        best_slot = slot;
                        best_other = other;
                    }
                }
        }
        if (best_slot < 0)
            return;
        swap(best_slot, best_other);
    }
}

}  // namespace eplb
