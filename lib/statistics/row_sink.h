#ifndef EPLB_STATISTICS_ROW_SINK_H
#define EPLB_STATISTICS_ROW_SINK_H

#include <cstdint>
#include <span>

#include "lib/statistics/expert_statistics.h"

namespace eplb {

// Sees every row of counts while a recording is read, so that what needs each source rank's own
// counts need not hold them all. Readers call it.
class RowSink {
  public:
    virtual ~RowSink() = default;

    // Once, before any row: the recording's shape without counts, iterations as selected. Streams
    // do not know how many iterations come: num_iterations is 0 then.
    virtual void begin(const ExpertStatistics& shape) = 0;

    // counts: [num_experts], checked, of each (iteration, layer, source rank) once, in any order.
    // iteration is an id, layer a position from 0. The rows of one iteration come from one thread;
    // several iterations come at once only where begin() said how many there are.
    virtual void add(std::int64_t iteration,
                     int layer,
                     int source,
                     std::span<const std::int64_t> counts) = 0;
};

}  // namespace eplb

#endif
