#ifndef EPLB_STATISTICS_THINNING_H
#define EPLB_STATISTICS_THINNING_H

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/statistics/expert_statistics.h"

// What a recording would have been with another batch. Fewer tokens reach other experts, so that
// tokens are drawn from those recorded; counts are not scaled.
namespace eplb {

struct ThinningRequest {
    std::int64_t tokens_per_iteration = 0;  // of all ranks together, at least 1
    int top_k = 0;                          // routed ids of a token, at least 1
    int num_draws = 1;
    std::uint64_t seed = 0;
};

struct Thinned {
    // Source ranks summed up. num_iterations is that of a draw times num_draws, draw by draw; ids
    // of iterations are none of the recording's.
    ExpertStatistics statistics;
    int num_draws = 0;
    // Neighbouring iterations that were put together so as to hold as many tokens, at most; 1:
    // none.
    int num_pooled = 1;
    // The recording has one iteration, of so many tokens that it gives several: a sum.
    bool is_cut = false;
    bool is_of_tokens = false;  // drawn token by token from routed ids

    int iterations_per_draw() const { return statistics.num_iterations / num_draws; }
};

// Of a recording that is one iteration no more than so many are made, a draw.
constexpr int kMostCuts = 32;

// Draws routed ids without replacement, in each iteration and layer: multivariate hypergeometric.
// Where an iteration holds too few, as many neighbours as needed are put together; those left over
// at the end are dropped. A recording of a single iteration is cut into several of that size, as
// far as its tokens go. A layer that has fewer ids in an iteration than others gives as many as it
// has. Error, which starts with `name`: the recording holds fewer tokens in all.
Thinned thin_counts(const ExpertStatistics& statistics,
                    const ThinningRequest& request,
                    const std::string& name,
                    ThreadPool& threads);

// The same token by token, the same ones in all layers, from the ids beside the counts. Error too
// where layers differ in how many tokens they have in an iteration.
Thinned thin_tokens(const RoutedIds& routed,
                    int num_experts,
                    const ThinningRequest& request,
                    const std::string& name,
                    ThreadPool& threads);

// Whether thin_tokens() takes them: each source rank has equally many tokens in all layers of an
// iteration.
bool has_tokens_in_all_layers(const RoutedIds& routed);

}  // namespace eplb

#endif
