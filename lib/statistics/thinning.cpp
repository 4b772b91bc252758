#include "lib/statistics/thinning.h"

#include <algorithm>
#include <numeric>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/base/text.h"
#include "lib/statistics/hypergeometric.h"

namespace eplb {
namespace {

// How the iterations of a recording become iterations of another size.
struct Regrouping {
    struct Pool {
        int first = 0;
        int stop = 0;
    };
    std::vector<Pool> pools;  // neighbours, each of which holds enough
    int num_cuts = 1;         // iterations that a pool gives

    int num_pools() const { return static_cast<int>(pools.size()); }
    int iterations_per_draw() const { return num_pools() * num_cuts; }
    int longest() const {
        int length = 1;
        for (const Pool& pool : pools)
            length = std::max(length, pool.stop - pool.first);
        return length;
    }
};

// sizes: [iterations], tokens or ids in each, in all at least `wanted`, which an iteration that is
// made has.
Regrouping regroup(const std::vector<std::int64_t>& sizes, std::int64_t wanted) {
    const int num_iterations = static_cast<int>(sizes.size());
    Regrouping regrouping;
    int first = 0;
    std::int64_t size = 0;
    for (int i = 0; i < num_iterations; ++i) {
        if (size == 0)
            first = i;  // past iterations without tokens
        size += sizes[i];
        if (size < wanted)
            continue;
        regrouping.pools.push_back({first, i + 1});
        size = 0;
    }
    if (num_iterations == 1)
        regrouping.num_cuts =
            static_cast<int>(std::min<std::int64_t>(kMostCuts, sizes.front() / wanted));
    return regrouping;
}

Error too_few_tokens(const std::string& name, std::int64_t total, const ThinningRequest& request) {
    return Error(name + ": holds " + std::to_string(total) +
                 " tokens in all its iterations, fewer than " +
                 std::to_string(request.tokens_per_iteration) + " of one iteration; give " +
                 setting("tokens_per_rank") + " less, or record more");
}

Thinned shape_of_thinned(const ExpertStatistics& shape,
                         const Regrouping& regrouping,
                         const ThinningRequest& request) {
    Thinned thinned;
    thinned.num_draws = request.num_draws;
    thinned.num_pooled = regrouping.longest();
    thinned.is_cut = regrouping.num_cuts > 1;
    thinned.statistics.num_experts = shape.num_experts;
    thinned.statistics.top_k = request.top_k;
    thinned.statistics.ep_size = shape.ep_size;
    thinned.statistics.has_unknown_sources = shape.has_unknown_sources;
    thinned.statistics.layers = shape.layers;
    thinned.statistics.ids = shape.ids;
    thinned.statistics.layer_updates_per_iter = shape.layer_updates_per_iter;
    thinned.statistics.num_sources = 1;
    thinned.statistics.num_iterations = regrouping.iterations_per_draw() * request.num_draws;
    thinned.statistics.allocate();
    return thinned;
}

// A token of a pool, by where its ids are.
struct Token {
    int iteration = 0;
    int source = 0;
    std::int64_t position = 0;
};

std::int64_t num_tokens_of(const RoutedIds& routed, int iteration, int source) {
    return static_cast<std::int64_t>(routed.cell(iteration, 0, source).size()) / routed.top_k;
}

// The first `wanted` of tokens become a sample without replacement of all (Fisher and Yates).
void shuffle_first(std::vector<Token>& tokens, std::int64_t wanted, RandomSequence& random) {
    for (std::int64_t i = 0; i < wanted; ++i) {
        const auto rest = static_cast<std::uint64_t>(std::ssize(tokens) - i);
        // rest is far below 2^32: no remainder is noticeably more frequent than another
        std::swap(tokens[i], tokens[i + static_cast<std::int64_t>(random.bits() % rest)]);
    }
}

}  // namespace

Thinned thin_counts(const ExpertStatistics& statistics,
                    const ThinningRequest& request,
                    const std::string& name,
                    ThreadPool& threads) {
    const std::int64_t wanted = request.tokens_per_iteration * request.top_k;
    const int num_layers = statistics.num_layers();
    std::vector<std::vector<std::int64_t>> counts(num_layers);  // [layers][iterations][experts]
    threads.for_each(num_layers, [&](std::int64_t layer) {
        counts[layer] = counts_per_iteration(statistics, static_cast<int>(layer));
    });
    // of the layer with most ids: others may lack some
    std::vector<std::int64_t> sizes(statistics.num_iterations);
    const int num_experts = statistics.num_experts;
    for (const std::vector<std::int64_t>& layer : counts)
        for (int i = 0; i < statistics.num_iterations; ++i) {
            const auto begin = layer.begin() + std::ptrdiff_t{i} * num_experts;
            sizes[i] =
                std::max(sizes[i], std::accumulate(begin, begin + num_experts, std::int64_t{0}));
        }
    const std::int64_t total = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
    if (total < wanted)
        throw too_few_tokens(name, total / request.top_k, request);
    const Regrouping regrouping = regroup(sizes, wanted);
    Thinned thinned = shape_of_thinned(statistics, regrouping, request);
    threads.for_each(num_layers, [&](std::int64_t layer) {
        const int position = static_cast<int>(layer);
        int made = 0;
        for (int draw = 0; draw < request.num_draws; ++draw)
            for (int p = 0; p < regrouping.num_pools(); ++p) {
                std::vector<std::int64_t> pool(num_experts);
                for (int i = regrouping.pools[p].first; i < regrouping.pools[p].stop; ++i) {
                    const auto row = counts[layer].begin() + std::ptrdiff_t{i} * num_experts;
                    std::transform(pool.begin(), pool.end(), row, pool.begin(), std::plus<>());
                }
                RandomSequence random(combine_keys(request.seed, draw, p, layer));
                for (int cut = 0; cut < regrouping.num_cuts; ++cut) {
                    const std::int64_t left =
                        std::accumulate(pool.begin(), pool.end(), std::int64_t{0});
                    draw_without_replacement(random, pool, std::min(wanted, left),
                                             thinned.statistics.row(made++, position, 0));
                }
            }
    });
    return thinned;
}

bool has_tokens_in_all_layers(const RoutedIds& routed) {
    for (int i = 0; i < routed.num_iterations; ++i)
        for (int source = 0; source < routed.ep_size; ++source)
            for (int layer = 1; layer < routed.num_layers(); ++layer)
                if (routed.cell(i, layer, source).size() != routed.cell(i, 0, source).size())
                    return false;
    return true;
}

Thinned thin_tokens(const RoutedIds& routed,
                    int num_experts,
                    const ThinningRequest& request,
                    const std::string& name,
                    ThreadPool& threads) {
    if (!has_tokens_in_all_layers(routed))
        throw Error(name +
                    ": layers differ in how many tokens they have in an iteration, so that "
                    "none can be followed through all of them");
    std::vector<std::int64_t> sizes(routed.num_iterations);
    for (int i = 0; i < routed.num_iterations; ++i)
        for (int source = 0; source < routed.ep_size; ++source)
            sizes[i] += num_tokens_of(routed, i, source);
    const std::int64_t total = std::accumulate(sizes.begin(), sizes.end(), std::int64_t{0});
    const std::int64_t wanted = request.tokens_per_iteration;
    if (total < wanted)
        throw too_few_tokens(name, total, request);
    const Regrouping regrouping = regroup(sizes, wanted);
    ExpertStatistics shape;
    shape.num_experts = num_experts;
    shape.ep_size = routed.ep_size;
    shape.layers = routed.layers;
    Thinned thinned = shape_of_thinned(shape, regrouping, request);
    thinned.is_of_tokens = true;
    threads.for_each(
        std::int64_t{request.num_draws} * regrouping.num_pools(), [&](std::int64_t index) {
            const Regrouping::Pool pool = regrouping.pools[index % regrouping.num_pools()];
            std::vector<Token> tokens;
            for (int i = pool.first; i < pool.stop; ++i)
                for (int source = 0; source < routed.ep_size; ++source)
                    for (std::int64_t t = 0; t < num_tokens_of(routed, i, source); ++t)
                        tokens.push_back({i, source, t});
            RandomSequence random(combine_keys(request.seed, index));
            shuffle_first(tokens, wanted * regrouping.num_cuts, random);
            for (int layer = 0; layer < routed.num_layers(); ++layer)
                for (std::int64_t i = 0; i < wanted * regrouping.num_cuts; ++i) {
                    const Token& token = tokens[i];
                    const std::vector<std::int32_t>& ids =
                        routed.cell(token.iteration, layer, token.source);
                    const int made = static_cast<int>(index * regrouping.num_cuts + i / wanted);
                    const std::span<std::int64_t> row = thinned.statistics.row(made, layer, 0);
                    for (int k = 0; k < routed.top_k; ++k)
                        if (const std::int32_t id = ids[token.position * routed.top_k + k]; id >= 0)
                            ++row[id];
                }
        });
    return thinned;
}

}  // namespace eplb
