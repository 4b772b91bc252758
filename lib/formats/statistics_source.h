#ifndef EPLB_FORMATS_STATISTICS_SOURCE_H
#define EPLB_FORMATS_STATISTICS_SOURCE_H

#include <string>

#include "lib/base/parallel.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/selection.h"

namespace eplb {

// A folder, a stream file or "-": whichever `path` is.
ExpertStatistics read_statistics(const std::string& path,
                                 const StatisticsSelection& selection,
                                 ThreadPool& threads);

}  // namespace eplb

#endif
