#include "lib/placement/plan/layer_samples.h"

#include <algorithm>
#include <array>
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

// So many iterations weigh as much as the source ranks' estimate.
constexpr double kIterationsOfEqualWeight = 40;

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

    void add(std::span<const double> row, double scale) {
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
        const double* const r0 = rows_[0].data();
        const double* const r1 = rows_[1].data();
        const double* const r2 = rows_[2].data();
        const double* const r3 = rows_[3].data();
        for (std::size_t expert = 0; expert < num_experts; ++expert) {
            const double f0 = scales_[0] * r0[expert];
            const double f1 = scales_[1] * r1[expert];
            const double f2 = scales_[2] * r2[expert];
            const double f3 = scales_[3] * r3[expert];
            double* const into = matrix_.row(expert).data();
            for (std::size_t other = expert; other < num_experts; ++other)
                into[other] +=
                    (f0 * r0[other] + f1 * r1[other]) + (f2 * r2[other] + f3 * r3[other]);
        }
    }

    ExpertMatrix& matrix_;
    std::array<std::vector<double>, 4> rows_;
    std::array<double, 4> scales_ = {};
    std::size_t num_rows_ = 0;
};

void mirror(ExpertMatrix& matrix) {
    for (std::size_t expert = 0; expert < matrix.num_experts(); ++expert)
        for (std::size_t other = 0; other < expert; ++other)
            matrix.row(expert)[other] = matrix.at(other, expert);
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

    // += scale * the estimate that make_problem() describes.
    void add_covariance(double scale, ExpertMatrix& covariance) const {
        const bool several_sources = range_.samples->statistics().num_sources > 1;
        const double share = several_sources
                                 ? num_iterations() / (num_iterations() + kIterationsOfEqualWeight)
                                 : kShareAgainstDiagonal;
        const std::vector<double> variance = add_iteration_covariance(scale * share, covariance);
        if (several_sources)
            add_source_covariance(scale * (1 - share), covariance);
        else
            add_sampling_variance(scale * (1 - share), variance, covariance);
    }

  private:
    std::size_t num_experts() const { return sums_.size(); }

    // Evenly spaced ones, so that no more rows are summed than most_rows() says.
    std::vector<int> picked_iterations(int rows_per_iteration) const {
        const int most = std::max(2, most_rows(num_experts()) / rows_per_iteration);
        const int stride = (num_iterations() + most - 1) / most;
        std::vector<int> picked;
        for (std::size_t i = 0; i < iterations_.size(); i += stride)
            picked.push_back(iterations_[i]);
        return picked;
    }

    // Over iterations, normalised to the same number of tokens. Returns its diagonal, unscaled.
    std::vector<double> add_iteration_covariance(double scale, ExpertMatrix& covariance) const {
        std::vector<std::vector<double>> rows;
        std::vector<double> mean(num_experts());
        for (const int i : picked_iterations(1)) {
            const std::span<const std::int64_t> counts = range_.samples->iteration(i);
            rows.emplace_back(counts.begin(), counts.end());
            const double unit = ep_size_ / range_.samples->total(i);
            for (std::size_t expert = 0; expert < mean.size(); ++expert)
                mean[expert] += rows.back()[expert] *= unit;
        }
        OuterProducts products(covariance);
        const auto num_rows = static_cast<double>(rows.size());
        std::vector<double> variance(num_experts());
        for (std::vector<double>& row : rows) {
            for (std::size_t expert = 0; expert < mean.size(); ++expert) {
                row[expert] -= mean[expert] / num_rows;
                variance[expert] += row[expert] * row[expert] / (num_rows - 1);
            }
            products.add(row, scale / (num_rows - 1));
        }
        return variance;
    }

    // What the sum over source ranks would vary by if each drew its tokens on its own: the sum of
    // the ranks' covariances around the iteration's shares.
    void add_source_covariance(double scale, ExpertMatrix& covariance) const {
        const int num_sources = range_.samples->statistics().num_sources;
        const std::vector<int> picked = picked_iterations(num_sources);
        OuterProducts products(covariance);
        std::vector<double> row(num_experts());
        for (const int i : picked) {
            const std::span<const std::int64_t> mean = range_.samples->iteration(i);
            const double total = range_.samples->total(i);
            const double factor = scale * num_sources / (num_sources - 1.0) * (ep_size_ / total) *
                                  (ep_size_ / total) / static_cast<double>(picked.size());
            for (int source = 0; source < num_sources; ++source) {
                const auto counts =
                    range_.samples->statistics().row(i, range_.samples->layer(), source);
                double source_total = 0;
                for (std::size_t expert = 0; expert < row.size(); ++expert) {
                    row[expert] = static_cast<double>(counts[expert]);
                    source_total += row[expert];
                }
                for (std::size_t expert = 0; expert < row.size(); ++expert)
                    row[expert] -= source_total * (static_cast<double>(mean[expert]) / total);
                products.add(row, factor);
            }
        }
    }

    // Binomial sampling, scaled so that it explains the variance seen over all experts.
    void add_sampling_variance(double scale,
                               const std::vector<double>& variance,
                               ExpertMatrix& covariance) const {
        const std::vector<double> model =
            sampling_variance(load(), ep_size_, range_.samples->statistics().top_k, ids_per_rank());
        double ratio = 0;
        int num_routed = 0;
        for (std::size_t expert = 0; expert < model.size(); ++expert)
            if (model[expert] > 0) {
                ratio += variance[expert] / model[expert];
                ++num_routed;
            }
        ratio /= num_routed;
        for (std::size_t expert = 0; expert < model.size(); ++expert)
            covariance.row(expert)[expert] += scale * ratio * model[expert];
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
                              bool with_covariance) {
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
        if (candidate.num_iterations() > 1)
            covariance_weight += range.weight;
        fitted.push_back(std::move(candidate));
    }
    auto covariance = std::make_shared<ExpertMatrix>(with_covariance ? problem.load.size() : 0);
    bool has_covariance = false;
    for (const FittedRange& range : fitted) {
        const double weight = range.weight() / total_weight;
        const std::vector<double> load = range.load();
        problem.workload_weight.push_back(weight);
        problem.workload_load.insert(problem.workload_load.end(), load.begin(), load.end());
        for (std::size_t expert = 0; expert < load.size(); ++expert)
            problem.load[expert] += weight * load[expert];
        if (with_covariance && range.num_iterations() > 1) {
            range.add_covariance(range.weight() / covariance_weight, *covariance);
            has_covariance = true;
        }
    }
    if (has_covariance) {
        mirror(*covariance);
        problem.covariance = std::move(covariance);
    }
    return problem;
}

}  // namespace eplb
