#include "lib/placement/plan/layer_samples.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "lib/base/sum.h"
#include "lib/placement/search/noise_floor.h"

namespace eplb {
namespace {

// Sums over rows cost num_experts^2 each, and past some hundred more tell little.
int most_rows(std::size_t num_experts) {
    return std::clamp(98304 / static_cast<int>(num_experts), 96, 1024);
}

// Of all ranges together, nearly: each costs every step of a search, and more tell little.
constexpr int kMostScenarios = 128;
constexpr int kLeastScenarios = 4;  // of a range that has them

// So many iterations weigh as much as the source ranks' estimate.
constexpr double kIterationsOfEqualWeight = 40;

// With iterations as scenarios: how much of their covariance these stand for, and how often that of
// the source ranks counts, since what was not recorded differs by more.
constexpr double kShareOfScenarios = 0.85;
constexpr double kSourceFactor = 2;

// The share of the sample covariance where only a diagonal stands against it.
constexpr double kShareAgainstDiagonal = 0.8;

// Adds scale * row' row to the upper triangle of a matrix. Rows are taken four at a time, so that
// the matrix is read and written a quarter as often.
class OuterProducts {
  public:
    explicit OuterProducts(ExpertMatrix& matrix) : matrix_(matrix) {}
    ~OuterProducts() { flush(); }
    OuterProducts(const OuterProducts&) = delete;
    OuterProducts& operator=(const OuterProducts&) = delete;

    void add(std::span<const float> row, float scale) {
        rows_[num_rows_].assign(row.begin(), row.end());
        scales_[num_rows_] = scale;
        if (++num_rows_ == rows_.size())
            flush();
    }

  private:
    void flush() {
        if (num_rows_ == 0)
            return;
        const std::size_t num_experts = matrix_.num_experts();
        for (; num_rows_ < rows_.size(); ++num_rows_) {
            rows_[num_rows_].assign(num_experts, 0);
            scales_[num_rows_] = 0;
        }
        num_rows_ = 0;
        const float* const r0 = rows_[0].data();
        const float* const r1 = rows_[1].data();
        const float* const r2 = rows_[2].data();
        const float* const r3 = rows_[3].data();
        for (std::size_t expert = 0; expert < num_experts; ++expert) {
            const float f0 = scales_[0] * r0[expert];
            const float f1 = scales_[1] * r1[expert];
            const float f2 = scales_[2] * r2[expert];
            const float f3 = scales_[3] * r3[expert];
            float* const into = matrix_.row(expert).data();
            for (std::size_t other = expert; other < num_experts; ++other)
                into[other] +=
                    (f0 * r0[other] + f1 * r1[other]) + (f2 * r2[other] + f3 * r3[other]);
        }
    }

    ExpertMatrix& matrix_;
    std::array<std::vector<float>, 4> rows_;
    std::array<float, 4> scales_ = {};
    std::size_t num_rows_ = 0;
};

void mirror(ExpertMatrix& matrix) {
    for (std::size_t expert = 0; expert < matrix.num_experts(); ++expert)
        for (std::size_t other = 0; other < expert; ++other)
            matrix.row(expert)[other] = matrix.row(other)[expert];
}

// One range, with its sums.
class FittedRange {
  public:
    FittedRange(const SampleRange& range, int ep_size) : range_(range), ep_size_(ep_size) {
        std::vector<std::int64_t> sums(range.samples->num_experts());
        for (int i = range.begin; i < range.end; ++i) {
            if (range.samples->total(i) == 0)
                continue;
            iterations_.push_back(i);
            const std::span<const std::int64_t> counts = range.samples->iteration(i);
            std::transform(sums.begin(), sums.end(), counts.begin(), sums.begin(), std::plus<>());
        }
        sums_.assign(sums.begin(), sums.end());
        total_ = sum_of(sums_);
    }

    std::span<const double> sums() const { return sums_; }
    double total() const { return total_; }
    bool has_tokens() const { return total_ > 0; }
    double weight() const { return range_.weight; }
    int num_iterations() const { return static_cast<int>(iterations_.size()); }
    double ids_per_rank() const { return total_ / num_iterations() / ep_size_; }

    // [num_experts]: the summed counts, in mean rank loads
    std::vector<double> load() const {
        std::vector<double> load = sums_;
        for (double& value : load)
            value *= ep_size_ / total_;
        return load;
    }

    // Whether there is something to say about how it varies.
    bool has_variance() const { return has_sources() || num_iterations() > 1; }

    // Appends the scenarios that make_problem() describes, `weight` in all.
    void add_scenarios(double weight, int most, PlacementProblem& problem) const {
        std::vector<double>& loads = problem.scenario_load;
        const std::vector<double> mean = load();
        const std::vector<int> picked = picked_iterations(most);
        if (picked.size() < 2) {
            loads.insert(loads.end(), mean.begin(), mean.end());
            problem.scenario_weight.push_back(weight);
            return;
        }
        const auto num_picked = static_cast<double>(picked.size());
        const double drawn =
            std::sqrt(kShareOfScenarios * iteration_share() * num_picked / (num_picked - 1));
        for (const std::vector<double>& row : deviations(picked)) {
            for (std::size_t expert = 0; expert < mean.size(); ++expert)
                loads.push_back(std::max(0.0, mean[expert] + drawn * row[expert]));
            problem.scenario_weight.push_back(weight / num_picked);
        }
    }

    // += scale * the covariance around these scenarios, or around the mean.
    void add_covariance(double scale, bool has_scenarios, ExpertMatrix& covariance) const {
        const double share = num_iterations() > 1 ? iteration_share() : 0;
        if (share > 0)
            add_iteration_covariance(scale * share * (has_scenarios ? 1 - kShareOfScenarios : 1),
                                     covariance);
        if (has_sources())
            add_source_covariance(scale * (1 - share) * (has_scenarios ? kSourceFactor : 1),
                                  covariance);
        else
            add_sampling_variance(scale * (1 - share), covariance);
        // tokens that scatter around the scenarios are in it once more, the more so the more of it
        // the iterations say
        if (has_scenarios) {
            const std::vector<double> mean = load();
            for (std::size_t expert = 0; expert < mean.size(); ++expert)
                covariance.row(expert)[expert] -=
                    static_cast<float>(scale * share * mean[expert] / ids_per_rank());
        }
    }

  private:
    std::size_t num_experts() const { return sums_.size(); }
    bool has_sources() const { return range_.samples->statistics().num_sources > 1; }

    // What the sample covariance over iterations counts in the estimate.
    double iteration_share() const {
        return has_sources() ? num_iterations() / (num_iterations() + kIterationsOfEqualWeight)
                             : kShareAgainstDiagonal;
    }

    // Evenly spaced ones, `most` at most.
    std::vector<int> picked_iterations(int most) const {
        const int stride = (num_iterations() + most - 1) / most;
        std::vector<int> picked;
        for (std::size_t i = 0; i < iterations_.size(); i += stride)
            picked.push_back(iterations_[i]);
        return picked;
    }

    // [picked][num_experts]: iterations normalised to the same number of tokens, less their mean.
    std::vector<std::vector<double>> deviations(const std::vector<int>& picked) const {
        std::vector<std::vector<double>> rows;
        std::vector<double> mean(num_experts());
        for (const int i : picked) {
            const std::span<const std::int64_t> counts = range_.samples->iteration(i);
            rows.emplace_back(counts.begin(), counts.end());
            const double unit = ep_size_ / range_.samples->total(i);
            for (std::size_t expert = 0; expert < mean.size(); ++expert)
                mean[expert] += (rows.back()[expert] *= unit) / static_cast<double>(picked.size());
        }
        for (std::vector<double>& row : rows)
            for (std::size_t expert = 0; expert < mean.size(); ++expert)
                row[expert] -= mean[expert];
        return rows;
    }

    void add_iteration_covariance(double scale, ExpertMatrix& covariance) const {
        const auto rows = deviations(picked_iterations(most_rows(num_experts())));
        OuterProducts products(covariance);
        for (const std::vector<double>& row : rows)
            products.add(std::vector<float>(row.begin(), row.end()),
                         static_cast<float>(scale / (static_cast<double>(rows.size()) - 1)));
    }

    // What the sum over source ranks would vary by if each drew its tokens on its own: the sum of
    // the ranks' covariances around the iteration's shares.
    void add_source_covariance(double scale, ExpertMatrix& covariance) const {
        const int num_sources = range_.samples->statistics().num_sources;
        const std::vector<int> picked =
            picked_iterations(std::max(2, most_rows(num_experts()) / num_sources));
        OuterProducts products(covariance);
        std::vector<float> row(num_experts());
        for (const int i : picked) {
            const std::span<const std::int64_t> mean = range_.samples->iteration(i);
            const double unit = ep_size_ / range_.samples->total(i);
            const double factor =
                scale * num_sources / (num_sources - 1.0) / static_cast<double>(picked.size());
            for (int source = 0; source < num_sources; ++source) {
                const auto counts =
                    range_.samples->statistics().row(i, range_.samples->layer(), source);
                double share = 0;  // of the iteration's ids
                for (const std::int64_t count : counts)
                    share += static_cast<double>(count) / range_.samples->total(i);
                for (std::size_t expert = 0; expert < row.size(); ++expert)
                    row[expert] =
                        static_cast<float>(unit * (static_cast<double>(counts[expert]) -
                                                   share * static_cast<double>(mean[expert])));
                products.add(row, static_cast<float>(factor));
            }
        }
    }

    // Binomial sampling, scaled so that it explains the variance seen over all experts.
    void add_sampling_variance(double scale, ExpertMatrix& covariance) const {
        const auto rows = deviations(iterations_);
        const std::vector<double> model =
            sampling_variance(load(), ep_size_, range_.samples->statistics().top_k, ids_per_rank());
        double ratio = 0;
        int num_routed = 0;
        for (std::size_t expert = 0; expert < model.size(); ++expert)
            if (model[expert] > 0) {
                for (const std::vector<double>& row : rows)
                    ratio += row[expert] * row[expert] / (num_iterations() - 1) / model[expert];
                ++num_routed;
            }
        ratio /= num_routed;
        for (std::size_t expert = 0; expert < model.size(); ++expert)
            covariance.row(expert)[expert] += static_cast<float>(scale * ratio * model[expert]);
    }

    SampleRange range_;
    int ep_size_;
    std::vector<int> iterations_;  // positions of those with tokens
    std::vector<double> sums_;     // [num_experts]
    double total_ = 0;
};

std::vector<double> normalized_speeds(const Deployment& deployment) {
    std::vector<double> speeds = deployment.rank_speed;
    const double mean =
        sum_of(speeds) / static_cast<double>(std::max<std::size_t>(1, speeds.size()));
    for (double& speed : speeds)
        speed /= mean;
    return speeds;
}

}  // namespace

LayerSamples::LayerSamples(const ExpertStatistics& statistics, int layer)
    : statistics_(&statistics), layer_(layer) {
    if (statistics.num_sources > 1)
        counts_ = counts_per_iteration(statistics, layer);
    for (int i = 0; i < statistics.num_iterations; ++i) {
        const std::span<const std::int64_t> counts = iteration(i);
        totals_.push_back(
            static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0})));
    }
}

std::vector<double> mixed_counts(std::span<const SampleRange> ranges) {
    std::vector<FittedRange> fitted;
    double total = 0;
    for (const SampleRange& range : ranges) {
        fitted.emplace_back(range, 1);
        total += fitted.back().total();
    }
    std::vector<double> counts(fitted.front().sums().begin(), fitted.front().sums().end());
    if (fitted.size() == 1)
        return counts;
    std::fill(counts.begin(), counts.end(), 0.0);
    double total_weight = 0;
    for (const FittedRange& range : fitted)
        if (range.has_tokens())
            total_weight += range.weight();
    const double unit = total / static_cast<double>(fitted.size());
    for (const FittedRange& range : fitted)
        if (range.has_tokens())
            for (std::size_t expert = 0; expert < counts.size(); ++expert)
                counts[expert] +=
                    range.sums()[expert] * (range.weight() / total_weight) * (unit / range.total());
    return counts;
}

PlacementProblem make_problem(std::span<const SampleRange> ranges,
                              const Deployment& deployment,
                              Objective objective) {
    PlacementProblem problem;
    problem.num_experts = ranges.front().samples->num_experts();
    problem.ep_size = deployment.ep_size;
    problem.slots_per_rank = deployment.slots_per_rank();
    problem.min_replicas = deployment.min_replicas;
    problem.rank_speed = normalized_speeds(deployment);
    problem.top_k = ranges.front().samples->statistics().top_k;
    problem.load.resize(problem.num_experts);

    std::vector<FittedRange> fitted;
    double total_weight = 0;
    double covariance_weight = 0;  // of those that have one
    for (const SampleRange& range : ranges) {
        FittedRange candidate(range, deployment.ep_size);
        if (!candidate.has_tokens())
            continue;
        total_weight += range.weight;
        if (candidate.has_variance())
            covariance_weight += range.weight;
        fitted.push_back(std::move(candidate));
    }
    const bool has_scenarios = objective == Objective::samples;
    const bool has_covariance = objective != Objective::aggregated && covariance_weight > 0;
    auto covariance = std::make_shared<ExpertMatrix>(has_covariance ? problem.load.size() : 0);
    const int most_scenarios =
        std::max(kLeastScenarios,
                 kMostScenarios / static_cast<int>(std::max<std::size_t>(1, fitted.size())));
    double loads_per_id = 0;
    for (const FittedRange& range : fitted) {
        const double weight = range.weight() / total_weight;
        loads_per_id += weight / range.ids_per_rank();
        const std::vector<double> load = range.load();
        for (std::size_t expert = 0; expert < load.size(); ++expert)
            problem.load[expert] += weight * load[expert];
        range.add_scenarios(weight, has_scenarios ? most_scenarios : 1, problem);
        if (has_covariance && range.has_variance())
            range.add_covariance(range.weight() / covariance_weight, has_scenarios, *covariance);
    }
    if (has_scenarios && !fitted.empty())
        problem.ids_per_load = 1 / loads_per_id;
    if (has_covariance) {
        for (std::size_t expert = 0; expert < problem.load.size(); ++expert)
            covariance->row(expert)[expert] = std::max(0.0F, covariance->row(expert)[expert]);
        mirror(*covariance);
        problem.covariance = std::move(covariance);
    }
    return problem;
}

}  // namespace eplb
