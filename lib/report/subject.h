#ifndef EPLB_REPORT_SUBJECT_H
#define EPLB_REPORT_SUBJECT_H

#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/placement.h"
#include "lib/placement/route/rank_load.h"
#include "lib/placement/route/replica_replay.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/selection.h"

namespace eplb {

// How an expert's tokens came to its replicas.
enum class ReplicaSplit {
    recorded,              // as the run counted them: no config was applied
    none,                  // no expert has several replicas
    replayed_from_counts,  // by upstream's round robin (slot_router.h), exact to the token: each
                           // source rank's ids were one block
    replayed_from_ids,     // the same, from the routed ids
    equal,                 // each replica an equal share
    equal_without_ids,     // the same, since there was more than a block and no routed ids
    equal_of_sum,          // the same, since the recorder had added the source ranks up
};

// What a report is about: the tokens that each slot computed, or would have under a config. All
// vectors are per layer, in the order of `layers`.
struct Subject {
    std::string name;  // "before", "before under eplb.yaml"
    int num_experts = 0;
    int top_k = 0;
    int ep_size = 0;          // ranks that the slots lie on
    std::vector<int> layers;  // model layer ids, ascending
    std::int64_t iter_start = 0;
    int num_iterations = 0;
    IdKind ids = IdKind::unstated;  // of the recording
    ReplicaSplit split = ReplicaSplit::recorded;
    int num_source_ranks = 0;  // of the recording, which the round robin starts from; 0: not known

    std::vector<LayerLoad> slot_load;  // bins are slots: experts, where there is no config
    // The expert in each slot, and the tokens of each expert; empty where slot ids were recorded
    // and nothing says which experts they held.
    std::vector<Placement> placements;
    std::vector<LayerLoad> expert_load;

    int num_layers() const { return static_cast<int>(layers.size()); }
    int num_slots() const { return slot_load.empty() ? 0 : slot_load.front().num_bins; }
    std::int64_t iter_stop() const { return iter_start + num_iterations; }
    IterationRange iterations() const { return {iter_start, iter_stop()}; }
    bool knows_experts() const { return !placements.empty(); }

    // [num_iterations][ep_size] of one layer, a position from 0.
    LayerLoad rank_load_of(int layer) const;
};

// recorded_load() of each layer, which subjects of the same statistics can share.
std::vector<LayerLoad> recorded_loads(const ExpertStatistics& statistics, ThreadPool& threads);

// As recorded, each expert (or slot) in its place by number. Error: ep_size does not divide them.
Subject recorded_subject(const ExpertStatistics& statistics, std::string name, int ep_size);
Subject recorded_subject(const ExpertStatistics& statistics,
                         std::vector<LayerLoad> recorded,
                         std::string name,
                         int ep_size);

// Under a config: placements are [layers], one per layer of the statistics, whose ids are experts.
// Each replica takes an equal share.
Subject projected_subject(const ExpertStatistics& statistics,
                          std::string name,
                          std::vector<Placement> placements);
Subject projected_subject(const ExpertStatistics& statistics,
                          std::vector<LayerLoad> recorded,
                          std::string name,
                          std::vector<Placement> placements,
                          ThreadPool& threads);

// The same by the engine's round robin; an equal share where the replay is not exact.
Subject replayed_subject(const ExpertStatistics& statistics,
                         std::vector<LayerLoad> recorded,
                         std::string name,
                         const ReplicaReplay& replay,
                         ThreadPool& threads);

// What no balancing gives on ep_size ranks: experts in order; where ep_size does not divide them
// the engine's default_placement(), with as few slots as hold them all.
Subject unbalanced_subject(const ExpertStatistics& statistics, std::string name, int ep_size);

// The slots as they ran, with the experts that the config in force put there. statistics: their
// experts, summed up; slot_load: [layers of the statistics].
Subject in_force_subject(const ExpertStatistics& statistics,
                         std::string name,
                         const EplbConfig& config,
                         std::vector<LayerLoad> slot_load,
                         int ep_size);

// For JSON: "replayed_from_counts"; both equal ones are "equal".
std::string split_name(ReplicaSplit split);

// The sentence of a report; empty where nothing was projected.
std::string split_note(const Subject& subject);

// Only iterations [start, stop), ids; they must be there.
Subject iterations_of(const Subject& subject, const IterationRange& range);

}  // namespace eplb

#endif
