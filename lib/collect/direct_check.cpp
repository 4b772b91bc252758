#include "lib/collect/direct_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "lib/base/error.h"

namespace eplb {
namespace {

using Vector = std::vector<double>;

struct Choice {
    std::vector<int> expert_ids;  // ascending
    Vector weights;               // of expert_ids
    double margin = 0;            // by how much the choice of experts, and of groups, was decided
};

double sigmoid(double x) {
    return 1 / (1 + std::exp(-x));
}

Vector rms_norm(std::span<const float> hidden, const std::vector<float>& norm) {
    double square = 0;
    for (const float h : hidden)
        square += static_cast<double>(h) * h;
    const double factor =
        1 / std::sqrt(square / static_cast<double>(hidden.size()) + SyntheticModel::kNormEpsilon);
    Vector x(hidden.size());
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = hidden[i] * factor * norm[i];
    return x;
}

// matrix [rows][columns] times x [columns]
Vector product(std::span<const float> matrix, const Vector& x) {
    Vector y(matrix.size() / x.size());
    for (std::size_t r = 0; r < y.size(); ++r)
        for (std::size_t i = 0; i < x.size(); ++i)
            y[r] += matrix[r * x.size() + i] * x[i];
    return y;
}

// the `count` best positions, and by how much the last of them beat the next
std::pair<std::vector<int>, double> best(const Vector& values, int count) {
    std::vector<int> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return values[a] > values[b]; });
    const auto value = [&](int place) { return values[order[place]]; };
    const double margin = count < static_cast<int>(order.size())
                              ? value(count - 1) - value(count)
                              : std::numeric_limits<double>::infinity();
    order.resize(count);
    return {order, margin};
}

Vector scores_of(const RouterSpec& spec, const Vector& logits) {
    Vector scores = logits;
    if (spec.score_function == ScoreFunction::softmax) {
        const double maximum = *std::max_element(logits.begin(), logits.end());
        double sum = 0;
        for (double& s : scores)
            sum += s = std::exp(s - maximum);
        for (double& s : scores)
            s /= sum;
    } else if (spec.score_function == ScoreFunction::sigmoid) {
        std::transform(scores.begin(), scores.end(), scores.begin(), sigmoid);
    } else if (spec.score_function == ScoreFunction::sqrtsoftplus) {
        for (double& s : scores)
            s = std::sqrt(std::log1p(std::exp(s)));
    }
    return scores;
}

Choice choose(const RouterSpec& spec, const Vector& logits, const std::vector<float>& bias) {
    const Vector scores = scores_of(spec, logits);
    Vector choice_scores = scores;
    for (std::size_t e = 0; e < bias.size(); ++e)
        choice_scores[e] += bias[e];

    Choice choice;
    choice.margin = std::numeric_limits<double>::infinity();
    if (spec.num_groups > 1) {
        const auto size = choice_scores.size() / static_cast<std::size_t>(spec.num_groups);
        Vector group_scores;
        for (auto group = choice_scores.begin(); group != choice_scores.end();
             group += static_cast<std::ptrdiff_t>(size)) {
            Vector sorted(group, group + static_cast<std::ptrdiff_t>(size));
            std::sort(sorted.rbegin(), sorted.rend());
            group_scores.push_back(spec.group_score == GroupScore::maximum ? sorted[0]
                                                                           : sorted[0] + sorted[1]);
        }
        const auto [groups, margin] = best(group_scores, spec.top_groups);
        choice.margin = margin;
        for (std::size_t e = 0; e < choice_scores.size(); ++e)
            if (std::find(groups.begin(), groups.end(), static_cast<int>(e / size)) == groups.end())
                choice_scores[e] = -std::numeric_limits<double>::infinity();
    }
    auto [experts, margin] = best(choice_scores, spec.top_k);
    choice.margin = std::min(choice.margin, margin);
    std::sort(experts.begin(), experts.end());
    choice.expert_ids = experts;
    double sum = 0;
    for (const int e : experts)
        sum += scores[e];
    for (const int e : experts)
        choice.weights.push_back(scores[e] * spec.scale / (spec.normalize ? sum : 1));
    return choice;
}

// y += weight * down(silu(gate x) * (up x))
void add_mlp(std::span<const float> weights,
             const ExpertShape& shape,
             const Vector& x,
             double weight,
             Vector& y) {
    const auto width = static_cast<std::size_t>(shape.intermediate_size);
    const std::size_t gate_up_size = 2 * width * x.size();
    const Vector gate_up = product(weights.first(gate_up_size), x);
    Vector activation(width);
    for (std::size_t i = 0; i < width; ++i)
        activation[i] = gate_up[i] * sigmoid(gate_up[i]) * gate_up[width + i];
    const Vector out = product(weights.subspan(gate_up_size), activation);
    for (std::size_t i = 0; i < y.size(); ++i)
        y[i] += weight * out[i];
}

}  // namespace

void DirectCheck::check(const Collector::LayerTrace& trace) {
    const MoeModelConfig& config = model_.config();
    const auto hidden_size = static_cast<std::size_t>(config.hidden_size);
    const auto top_k = static_cast<std::size_t>(config.router.top_k);
    const int layer = config.position(trace.layer);
    const RouterWeights& router = model_.router(layer);

    std::vector<std::vector<float>> experts(config.router.num_experts);
    threads_.for_each(config.router.num_experts, [&](std::int64_t e) {
        std::vector<float>& weights = experts[e];
        weights.resize(model_.expert_shape().num_weights());
        model_.make_expert(layer, static_cast<int>(e), weights);
    });
    std::vector<float> shared(model_.shared_shape().num_weights());
    model_.make_shared_expert(layer, shared);

    const std::size_t num_tokens = trace.input.size() / hidden_size;
    Vector differences(num_tokens);
    threads_.for_each(static_cast<std::int64_t>(num_tokens), [&](std::int64_t index) {
        const auto t = static_cast<std::size_t>(index);
        const auto input = trace.input.subspan(t * hidden_size, hidden_size);
        const auto output = trace.output.subspan(t * hidden_size, hidden_size);
        const Vector x = rms_norm(input, router.norm);
        const Choice choice = choose(config.router, product(router.weight, x), router.bias);
        std::vector<int> routed(
            trace.expert_ids.begin() + static_cast<std::ptrdiff_t>(t * top_k),
            trace.expert_ids.begin() + static_cast<std::ptrdiff_t>((t + 1) * top_k));
        std::sort(routed.begin(), routed.end());
        const std::string where =
            "layer " + std::to_string(trace.layer) + ", token " + std::to_string(t) + ": ";
        if (choice.margin < kNearTie) {
            differences[t] = -1;
            return;
        }
        if (routed != choice.expert_ids)
            throw GateError(where + "was routed to other experts than a direct evaluation chooses");

        Vector added(hidden_size);
        for (std::size_t j = 0; j < top_k; ++j)
            add_mlp(experts[choice.expert_ids[j]], model_.expert_shape(), x, choice.weights[j],
                    added);
        if (!shared.empty())
            add_mlp(shared, model_.shared_shape(), x, 1, added);
        double largest = 0;     // of what the layer adds
        double difference = 0;  // beyond the rounding of the sum in fp32
        for (std::size_t i = 0; i < hidden_size; ++i) {
            constexpr double kRounding = 16 * 0x1p-24;  // top_k + 1 additions, and some more
            largest = std::max(largest, std::fabs(added[i]));
            difference = std::max(difference,
                                  std::fabs(static_cast<double>(output[i]) - input[i] - added[i]) -
                                      kRounding * std::fabs(static_cast<double>(output[i])));
        }
        differences[t] = difference / largest;
        if (!(differences[t] <= kTolerance))
            throw GateError(where + "differs from a direct evaluation by " +
                            std::to_string(differences[t]) + " of what the layer adds");
    });
    for (const double difference : differences) {
        ++num_tokens_;
        if (difference < 0)
            ++num_near_ties_;
        largest_difference_ = std::max(largest_difference_, difference);
    }
}

}  // namespace eplb
