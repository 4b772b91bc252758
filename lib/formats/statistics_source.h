#ifndef EPLB_FORMATS_STATISTICS_SOURCE_H
#define EPLB_FORMATS_STATISTICS_SOURCE_H

#include <string>

#include "lib/base/parallel.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"
#include "lib/statistics/selection.h"

namespace eplb {

// A folder, a stream file or "-": whichever `path` is. rows, where given, sees the counts of each
// source rank.
ExpertStatistics read_statistics(const std::string& path,
                                 const StatisticsSelection& selection,
                                 ThreadPool& threads,
                                 RowSink* rows = nullptr);

}  // namespace eplb

#endif
