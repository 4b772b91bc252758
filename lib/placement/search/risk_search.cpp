#include "lib/placement/search/risk_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "lib/base/fast_exp.h"

// The risk of a placement, what a step would change of it, and the step itself.
namespace eplb {
namespace {

// beta = kStrength * sqrt(2 ln ep_size) / sigma: at 1 the bound of independent normals is tightest;
// below it, outliers weigh less, which does better on iterations not seen
constexpr double kStrength = 0.6;

// of beta times a rank's load: what is further below the largest than exp() reaches is all alike
constexpr double kLargestExponent = 500;

}  // namespace

RiskSearch::RiskSearch(const PlacementProblem& problem, SlotTable table)
    : problem_(&problem),
      covariance_(problem.covariance.get()),
      cooccurrence_(problem.cooccurrence.get()),
      table_(std::move(table)),
      num_experts_(problem.load.size()),
      num_workloads_(problem.workload_weight.size()),
      expert_loads_(num_experts_ * num_workloads_),
      inverse_count_(num_experts_),
      with_experts_(covariance_ == nullptr ? 0 : problem.ep_size * num_experts_),
      taken_with_(cooccurrence_ == nullptr ? 0 : problem.ep_size * num_experts_),
      means_(problem.ep_size * num_workloads_),
      ranks_(problem.ep_size),
      scratch_(num_workloads_),
      changed_at_(ranks_.size()),
      looked_at_(ranks_.size() * ranks_.size(), -1) {
    for (int workload = 0; workload < problem.num_workloads(); ++workload)
        for (std::size_t expert = 0; expert < num_experts_; ++expert)
            expert_loads_[expert * num_workloads_ + workload] = problem.workload(workload)[expert];
    if (covariance_ != nullptr)
        for (std::size_t expert = 0; expert < num_experts_; ++expert)
            deviation_.push_back(std::sqrt(std::max(covariance_->at(expert, expert), 0.0)));
    average_loads();
    build();
    fit_beta();
}

void RiskSearch::average_loads() {
    average_load_.assign(num_experts_, 0);
    for (std::size_t expert = 0; expert < num_experts_; ++expert)
        for (std::size_t w = 0; w < num_workloads_; ++w)
            average_load_[expert] +=
                problem_->workload_weight[w] * expert_loads_[expert * num_workloads_ + w];
}

void RiskSearch::build() {
    for (int expert = 0; expert < table_.num_experts(); ++expert)
        inverse_count_[expert] = 1.0 / table_.replicas(expert);
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        for (const int expert : table_.rank(rank_id))
            apply(rank_id, {expert, share(expert), expert, 0});
        refresh(rank_id);
    }
}

void RiskSearch::apply(int rank_id, const Change& change) {
    const std::span<double> rank_means = means(rank_id);
    const int expert = change.expert;
    const int other = change.other;
    for (std::size_t w = 0; w < num_workloads_; ++w)
        rank_means[w] += change.u * expert_loads_[expert * num_workloads_ + w] +
                         change.z * expert_loads_[other * num_workloads_ + w];
    const auto add_rows = [&](const ExpertMatrix* matrix, std::vector<double>& rows) {
        if (matrix == nullptr)
            return;
        const std::span<double> row = row_of(rows, rank_id);
        const std::span<const double> of_expert = matrix->row(expert);
        const std::span<const double> of_other = matrix->row(other);
        for (std::size_t i = 0; i < num_experts_; ++i)
            row[i] += change.u * of_expert[i] + change.z * of_other[i];
    };
    add_rows(covariance_, with_experts_);
    add_rows(cooccurrence_, taken_with_);
}

void RiskSearch::refresh(int rank_id) {
    Rank rank;
    for (const int expert : table_.rank(rank_id)) {
        rank.load += share(expert) * problem_->load[expert];
        rank.average += share(expert) * average_load_[expert];
        if (covariance_ != nullptr)
            rank.variance += share(expert) * row_of(with_experts_, rank_id)[expert];
        if (cooccurrence_ != nullptr)
            rank.together += share(expert) * row_of(taken_with_, rank_id)[expert] / 2;
    }
    rank.penalty = penalty(rank_id, means(rank_id), rank.variance, rank.together);
    ranks_[rank_id] = rank;
    changed_at_[rank_id] = ++time_;
}

double RiskSearch::penalty(int rank_id,
                           std::span<const double> means,
                           double variance,
                           double together) const {
    const double scale = beta_ / problem_->speed(rank_id);
    const double spread = scale * scale * variance / 2 - beta_ - offset_;
    double sum = 0;
    for (std::size_t w = 0; w < means.size(); ++w)
        sum += problem_->workload_weight[w] * fast_exp(scale * means[w] + spread);
    return sum - send_price_ * together;
}

double RiskSearch::penalty_after(int rank_id, const Change& change) const {
    const int expert = change.expert;
    const int other = change.other;
    const std::span<const double> before = means(rank_id);
    for (std::size_t w = 0; w < num_workloads_; ++w)
        scratch_[w] = before[w] + change.u * expert_loads_[expert * num_workloads_ + w] +
                      change.z * expert_loads_[other * num_workloads_ + w];
    double variance = ranks_[rank_id].variance;
    if (covariance_ != nullptr) {
        const std::span<const double> row = row_of(with_experts_, rank_id);
        variance += 2 * change.u * row[expert] + 2 * change.z * row[other] +
                    change.u * change.u * covariance_->at(expert, expert) +
                    change.z * change.z * covariance_->at(other, other) +
                    2 * change.u * change.z * covariance_->at(expert, other);
    }
    double together = ranks_[rank_id].together;
    if (cooccurrence_ != nullptr) {
        const std::span<const double> row = row_of(taken_with_, rank_id);
        together += change.u * row[expert] + change.z * row[other] +
                    change.u * change.z * cooccurrence_->at(expert, other);
    }
    return penalty(rank_id, scratch_, variance, together);
}

void RiskSearch::fit_beta() {
    double variance = 0;
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        const double speed = problem_->speed(rank_id);
        const Rank& rank = ranks_[rank_id];
        double between = 0;
        for (std::size_t w = 0; w < num_workloads_; ++w) {
            const double difference = means(rank_id)[w] - rank.load;
            between += problem_->workload_weight[w] * difference * difference;
        }
        variance += (rank.variance + between) / (speed * speed) / table_.ep_size();
    }
    double largest = 1;
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id)
        for (const double mean : means(rank_id))
            largest = std::max(largest, mean / problem_->speed(rank_id));
    const double beta = kStrength * std::sqrt(2 * std::log(std::max(2, table_.ep_size()))) /
                        std::sqrt(std::max(variance, 1e-8));
    set_beta(std::min(beta, kLargestExponent / largest));
}

void RiskSearch::set_beta(double beta) {
    const auto refresh_all = [&] {
        for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id)
            refresh(rank_id);
    };
    beta_ = beta;
    offset_ = -beta;
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id)
        for (std::size_t w = 0; w < num_workloads_; ++w)
            offset_ = std::max(offset_, exponent(rank_id, w));
    send_price_ = 0;
    refresh_all();
    if (traffic_weight_ == 0)
        return;
    // d(ln(Q) / beta) = dQ / (beta Q)
    send_price_ = traffic_weight_ * beta_ * relative_risk() / problem_->top_k;
    refresh_all();
}

double RiskSearch::exponent(int rank_id, std::size_t workload) const {
    const double scale = beta_ / problem_->speed(rank_id);
    return scale * means(rank_id)[workload] - beta_ + scale * scale * ranks_[rank_id].variance / 2;
}

double RiskSearch::relative_risk() const {
    double sum = 0;
    for (const Rank& rank : ranks_)
        sum += rank.penalty + send_price_ * rank.together;
    return sum;
}

double RiskSearch::risk() const {
    return (std::log(relative_risk()) + offset_) / beta_;
}

double RiskSearch::saved_sends() const {
    double sum = 0;
    for (const Rank& rank : ranks_)
        sum += rank.together;
    return sum;
}

void RiskSearch::set_traffic_weight(double weight) {
    traffic_weight_ = weight;
    set_beta(beta_);
}

void RiskSearch::swap(int slot, int other) {
    const int expert = table_.expert(slot);
    const int other_expert = table_.expert(other);
    apply(table_.rank_of(slot), {expert, -share(expert), other_expert, share(other_expert)});
    apply(table_.rank_of(other), {expert, share(expert), other_expert, -share(other_expert)});
    table_.swap(slot, other);
    refresh(table_.rank_of(slot));
    refresh(table_.rank_of(other));
}

double RiskSearch::swap_gain(int slot, int other) const {
    const int expert = table_.expert(slot);
    const int other_expert = table_.expert(other);
    const int rank_id = table_.rank_of(slot);
    const int other_rank = table_.rank_of(other);
    return rank_penalty(rank_id) + rank_penalty(other_rank) -
           penalty_after(rank_id, {expert, -share(expert), other_expert, share(other_expert)}) -
           penalty_after(other_rank, {expert, share(expert), other_expert, -share(other_expert)});
}

// What a rank's load changes by when the slot's expert loses a replica and `expert` gains it there.
RiskSearch::Change RiskSearch::replica_change(int rank_id, int slot, int expert) const {
    const int loser = table_.expert(slot);
    const double fewer = 1.0 / (table_.replicas(loser) - 1);
    const double more = 1.0 / (table_.replicas(expert) + 1);
    const int copies = table_.copies(rank_id, loser);
    const int expert_copies = table_.copies(rank_id, expert);
    const int moved = rank_id == table_.rank_of(slot) ? 1 : 0;
    return {loser, (copies - moved) * fewer - copies * share(loser), expert,
            (expert_copies + moved) * more - expert_copies * share(expert)};
}

double RiskSearch::replica_gain(int slot,
                                int expert,
                                const std::vector<std::vector<int>>& hosts) const {
    const int loser = table_.expert(slot);
    double gain = 0;
    const auto add = [&](int rank_id) {
        gain +=
            ranks_[rank_id].penalty - penalty_after(rank_id, replica_change(rank_id, slot, expert));
    };
    for (const int rank_id : hosts[loser])
        add(rank_id);
    for (const int rank_id : hosts[expert])
        if (!table_.hosts(rank_id, loser))
            add(rank_id);
    return gain;
}

void RiskSearch::move_replica(int slot, int expert) {
    const int loser = table_.expert(slot);
    std::vector<int> touched;
    for (int rank_id = 0; rank_id < table_.ep_size(); ++rank_id) {
        const Change change = replica_change(rank_id, slot, expert);
        if (change.u == 0 && change.z == 0)
            continue;
        apply(rank_id, change);
        touched.push_back(rank_id);
    }
    table_.replace(slot, expert);
    for (const int changed : {loser, expert})
        inverse_count_[changed] = 1.0 / table_.replicas(changed);
    for (const int rank_id : touched)
        refresh(rank_id);
}

int RiskSearch::fullest_rank() const {
    int fullest = 0;
    const auto load = [&](int rank_id) { return ranks_[rank_id].load / problem_->speed(rank_id); };
    for (int rank_id = 1; rank_id < table_.ep_size(); ++rank_id)
        if (load(rank_id) > load(fullest))
            fullest = rank_id;
    return fullest;
}

double RiskSearch::fullest_load() const {
    const int fullest = fullest_rank();
    return ranks_[fullest].load / problem_->speed(fullest);
}

}  // namespace eplb
