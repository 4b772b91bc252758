#include "tests/bench/scenarios.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "tests/bench/samplers.h"

namespace eplb::bench {
namespace {

constexpr int kNumExperts = 256;
constexpr int kTopK = 8;
constexpr int kTokensPerRank = 128;

// what a random stream is for; part of its key
enum Stream : std::uint64_t {
    kTarget,
    kPopularity,
    kTopicAffinity,
    kShift,
    kTrainTopics,
    kTestTopics,
    kTrainCounts,
    kTestCounts,
};

// Standard deviation of the 32 ranks' loads in tokens, of contiguous experts and after balancing.
struct LayerTarget {
    double before = 0;
    double after = 0;
};

// Layers 3 to 5 and 58 to 60 are published; the rest rise between them to the published average.
LayerTarget layer_target(unsigned seed, int layer_id) {
    switch (layer_id) {
        case 3:
            return {188, 37.6};
        case 4:
            return {203, 42.4};
        case 5:
            return {209, 42.6};
        case 6:
            return {300, 46};
        case 7:
            return {380, 49};
        case 8:
            return {450, 52};
        case 58:
            return {571, 49.2};
        case 59:
            return {341, 44.5};
        case 60:
            return {381, 48.4};
        default:
            RandomStream random(combine_keys(seed, layer_id, kTarget));
            return {521 + 40 * std::clamp(random.normal(), -2.0, 2.0), 55.4};
    }
}

void normalize(std::span<double> shares) {
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    for (double& share : shares)
        share /= sum;
}

// Shares proportional to exp(exponent * z), none above what an expert can get: a token selects it
// once at most.
std::vector<double> power_law(std::span<const double> z, double exponent) {
    constexpr double kMaxShare = 0.9 / kTopK;
    std::vector<double> weight;
    weight.reserve(z.size());
    for (const double value : z)
        weight.push_back(portable_exp(exponent * value));
    std::vector<double> shares(weight.size(), 0);
    for (bool stable = false; !stable;) {
        double left = 1;
        double free_weight = 0;
        for (std::size_t e = 0; e < shares.size(); ++e)
            if (shares[e] == kMaxShare)
                left -= kMaxShare;
            else
                free_weight += weight[e];
        stable = true;
        for (std::size_t e = 0; e < shares.size(); ++e) {
            if (shares[e] == kMaxShare)
                continue;
            shares[e] = weight[e] * left / free_weight;
            if (shares[e] > kMaxShare) {
                shares[e] = kMaxShare;
                stable = false;
            }
        }
    }
    return shares;
}

// Expected standard deviation of the loads of 32 ranks with 1024 routed ids each, of contiguous
// experts, the sampling of tokens included.
double contiguous_std(std::span<const double> shares) {
    constexpr int kNumRanks = 32;
    constexpr double kRankLoad = kTokensPerRank * kTopK;
    constexpr double kSamplingStd = 31;
    constexpr std::size_t kExpertsPerRank = kNumExperts / kNumRanks;
    double squares = 0;
    for (std::size_t first = 0; first < shares.size(); first += kExpertsPerRank) {
        const std::span<const double> rank = shares.subspan(first, kExpertsPerRank);
        const double load =
            kRankLoad * kNumRanks * std::accumulate(rank.begin(), rank.end(), 0.0) - kRankLoad;
        squares += load * load;
    }
    return std::sqrt(squares / (kNumRanks - 1) + kSamplingStd * kSamplingStd);
}

// [num_experts]: shares of the routed ids, the more uneven the higher the target.
std::vector<double> popularity(double target_std, RandomStream random) {
    std::vector<int> order(kNumExperts);
    std::iota(order.begin(), order.end(), 0);
    for (int i = kNumExperts - 1; i > 0; --i)
        std::swap(order[i], order[random.below(i + 1)]);
    std::vector<double> z;
    z.reserve(order.size());
    for (const int place : order)
        z.push_back(-portable_log(place + 3) + 0.15 * random.normal());
    double low = 0.01;
    double high = 3;
    for (int i = 0; i < 60; ++i) {
        const double middle = 0.5 * (low + high);
        (contiguous_std(power_law(z, middle)) < target_std ? low : high) = middle;
    }
    return power_law(z, 0.5 * (low + high));
}

// How far shares stray from the popularity, such that the balanced layers come out at their target.
double excess_amplitude(Scenario scenario, double std_after) {
    double scale = 0;
    switch (scenario) {
        case Scenario::iid:
            scale = 0.142;
            break;
        case Scenario::topic:
            scale = 0.134;
            break;
        case Scenario::replay:
            scale = 0.160;
            break;
        case Scenario::shift:
            scale = 0.138;
            break;
        case Scenario::multinomial:
            return 0;
    }
    return scale * std::sqrt(std::max(1.0, std_after * std_after - 30.5 * 30.5)) / 46.2;
}

// Counts of one iteration. Experts are drawn one by one, which keeps each below num_tokens; what
// their sum is off by is settled id by id.
void draw_counts(std::span<const double> shares,
                 int num_tokens,
                 RandomStream& random,
                 std::span<std::int64_t> counts) {
    std::int64_t missing = static_cast<std::int64_t>(num_tokens) * kTopK;
    std::vector<double> cumulative;
    double sum = 0;
    for (std::size_t e = 0; e < shares.size(); ++e) {
        counts[e] = random.binomial(num_tokens, std::min(0.97, kTopK * shares[e]));
        missing -= counts[e];
        sum += shares[e];
        cumulative.push_back(sum);
    }
    while (missing != 0) {
        const auto found =
            std::upper_bound(cumulative.begin(), cumulative.end() - 1, random.uniform() * sum);
        std::int64_t& count = counts[found - cumulative.begin()];
        if (missing > 0 && count < num_tokens) {
            ++count;
            --missing;
        } else if (missing < 0 && count > 0) {
            --count;
            ++missing;
        }
    }
}

// One layer: its shares, and how they move.
class LayerModel {
  public:
    LayerModel(const ScenarioOptions& options, int layer_id)
        : options_(options), key_(combine_keys(options.seed, layer_id)) {
        const LayerTarget target = layer_target(options.seed, layer_id);
        popularity_ = popularity(target.before, RandomStream(combine_keys(key_, kPopularity)));
        amplitude_ = excess_amplitude(options.scenario, target.after);
        switch (options.scenario) {
            case Scenario::iid:
            case Scenario::multinomial:
                return;
            case Scenario::shift:
                amplitude_ *= 0.7;  // the other half of the variance is the shift's
                break;
            case Scenario::topic:
            case Scenario::replay:
                break;
        }
        affinity_ = affinities(kTopicAffinity, options.num_topics);
        shift_ = affinities(kShift, 1);
    }

    void fill(int layer, ScenarioStatistics& statistics) const {
        std::vector<double> train_topics;
        std::vector<double> test_topics;
        if (!affinity_.empty()) {
            RandomStream random(combine_keys(key_, kTrainTopics));
            std::vector<double> strength = new_strengths(random);
            train_topics = topics(options_.num_train, random, strength);
            random = RandomStream(combine_keys(key_, kTestTopics));
            if (options_.scenario == Scenario::replay)
                test_topics = train_topics;
            else {
                if (options_.scenario == Scenario::shift)
                    strength = new_strengths(random);
                test_topics = topics(options_.num_test, random, strength);
            }
        }
        const bool shifted = options_.scenario == Scenario::shift;
        fill_part(statistics.train, layer, kTrainCounts, train_topics, false);
        fill_part(statistics.test, layer, kTestCounts, test_topics, shifted);
    }

  private:
    // [num_experts][num_topics]; a rare expert has more to gain from a topic, within limits
    std::vector<double> affinities(Stream stream, int num_topics) const {
        RandomStream random(combine_keys(key_, stream));
        std::vector<double> result;
        for (const double share : popularity_) {
            const double scale = std::min(2.5, 1 / std::sqrt(kNumExperts * share));
            for (int i = 0; i < num_topics; ++i)
                result.push_back(random.normal() * scale);
        }
        return result;
    }

    std::vector<double> new_strengths(RandomStream& random) const {
        std::vector<double> strength(options_.num_topics);
        for (double& value : strength)
            value = random.normal();
        return strength;
    }

    // [num_iterations][num_topics]: how strong each topic is, from the state in `strength` on
    std::vector<double> topics(int num_iterations,
                               RandomStream& random,
                               std::vector<double>& strength) const {
        const double novelty = std::sqrt(1 - options_.rho * options_.rho);
        std::vector<double> result;
        for (int i = 0; i < num_iterations; ++i)
            for (double& value : strength) {
                value = options_.rho * value + novelty * random.normal();
                result.push_back(value);
            }
        return result;
    }

    // Iterations beyond those of topics take them again from the first.
    void fill_part(ExpertStatistics& statistics,
                   int layer,
                   Stream stream,
                   std::span<const double> topics,
                   bool shifted) const {
        const auto num_topics = static_cast<std::size_t>(options_.num_topics);
        std::vector<double> shares = popularity_;
        for (int i = 0; i < statistics.num_iterations; ++i) {
            RandomStream random(combine_keys(key_, stream, i));
            if (options_.scenario == Scenario::iid)
                draw_shares(random, shares);
            else if (!affinity_.empty()) {
                const std::size_t first = static_cast<std::size_t>(i) * num_topics % topics.size();
                follow_topics(topics.subspan(first, num_topics), shifted, shares);
            }
            draw_counts(shares, kTokensPerRank * options_.ep_size, random,
                        statistics.row(i, layer, 0));
        }
    }

    // Dirichlet: relative variance amplitude^2 / (num_experts * popularity)
    void draw_shares(RandomStream& random, std::vector<double>& shares) const {
        const double concentration = kNumExperts / (amplitude_ * amplitude_);
        for (std::size_t e = 0; e < shares.size(); ++e)
            shares[e] = random.gamma(concentration * popularity_[e]);
        normalize(shares);
    }

    void follow_topics(std::span<const double> strength,
                       bool shifted,
                       std::vector<double>& shares) const {
        const double scale = amplitude_ / std::sqrt(static_cast<double>(strength.size()));
        const double* affinity = affinity_.data();
        for (std::size_t e = 0; e < shares.size(); ++e) {
            double sum = 0;
            for (const double value : strength)
                sum += value * *affinity++;
            const double shift = shifted ? amplitude_ * shift_[e] : 0;
            shares[e] = popularity_[e] * portable_exp(scale * sum + shift);
        }
        normalize(shares);
    }

    const ScenarioOptions& options_;
    std::uint64_t key_;
    double amplitude_ = 0;
    std::vector<double> popularity_;  // [num_experts]
    std::vector<double> affinity_;    // [num_experts][num_topics]; empty: no topics
    std::vector<double> shift_;       // [num_experts]
};

ExpertStatistics empty_statistics(const ScenarioOptions& options,
                                  int iter_start,
                                  int num_iterations) {
    ExpertStatistics statistics;
    statistics.num_experts = kNumExperts;
    statistics.top_k = kTopK;
    statistics.ep_size = options.ep_size;
    statistics.layers.resize(options.num_layers);
    std::iota(statistics.layers.begin(), statistics.layers.end(), options.first_layer);
    statistics.iter_start = iter_start;
    statistics.num_iterations = num_iterations;
    statistics.num_sources = 1;
    statistics.ids = IdKind::expert;
    statistics.allocate();
    return statistics;
}

}  // namespace

ScenarioStatistics make_scenario(const ScenarioOptions& options, ThreadPool& threads) {
    ScenarioStatistics statistics;
    statistics.train = empty_statistics(options, 0, options.num_train);
    statistics.test = empty_statistics(options, options.num_train, options.num_test);
    threads.for_each(options.num_layers, [&](std::int64_t i) {
        const auto layer = static_cast<int>(i);
        LayerModel(options, options.first_layer + layer).fill(layer, statistics);
    });
    return statistics;
}

}  // namespace eplb::bench
