#ifndef EPLB_PLACEMENT_ROUTE_PROJECTION_H
#define EPLB_PLACEMENT_ROUTE_PROJECTION_H

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "lib/placement/placement.h"
#include "lib/placement/route/replica_replay.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"

namespace eplb {

// What several configs make of a recording, row by row while it is read: a replay of each.
class Projection : public RowSink {
  public:
    // The layers that are looked at, ids of the recording's, and each config's placements on them.
    struct Placed {
        std::vector<int> layers;
        std::vector<std::vector<Placement>> placements;  // [configs][layers]
    };

    // place: asked once, when the recording's shape is known. Without takes_counts no replay is
    // given any rows.
    explicit Projection(std::function<Placed(const ExpertStatistics& shape)> place,
                        bool takes_counts = true);

    void begin(const ExpertStatistics& shape) override;
    void add(std::int64_t iteration,
             int layer,
             int source,
             std::span<const std::int64_t> counts) override;

    // Whether counts told each replay all it needs.
    bool is_exact() const;
    // Where they did not, routed ids may: replays that are not exact begin again, with ids alone.
    // Like counts, they come with an id of an iteration and a position among the recording's
    // layers.
    void restart_from_ids();
    void add_ids(std::int64_t iteration, int layer, int source, std::span<const std::int32_t> ids);

    int num_configs() const { return static_cast<int>(replays_.size()); }
    const ReplicaReplay& replay(int config) const { return replays_[config]; }

  private:
    std::function<Placed(const ExpertStatistics& shape)> place_;
    bool takes_counts_;
    std::vector<std::optional<int>> positions_;  // [layers of the recording], among those wanted
    std::deque<ReplicaReplay> replays_;          // [configs]
};

}  // namespace eplb

#endif
