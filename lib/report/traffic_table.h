#ifndef EPLB_REPORT_TRAFFIC_TABLE_H
#define EPLB_REPORT_TRAFFIC_TABLE_H

#include <span>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/replayed_traffic.h"
#include "lib/report/subject.h"
#include "lib/report/table.h"

namespace eplb {

struct TrafficOptions {
    int num_nodes = 1;           // blocks of neighbouring ranks; divides ep_size
    double bytes_per_token = 0;  // on the way to a rank; 0: tokens are counted
};

// [layers]: where the subject's placements send the routed ids. Both are of the same layers and
// iterations; where the subject knows no experts, the ids are its slots.
std::vector<ReplayedTraffic> traffic_of(const Subject& subject,
                                        const RoutedIds& routed,
                                        int num_nodes,
                                        ThreadPool& threads);

// A row per layer, means over tokens: ranks_per_token, with several nodes nodes_per_token, where
// the own rank is known remote_ranks_per_token, saved (1 - sends / routed ids), within_rank_share,
// and with bytes_per_token mb_sent_per_rank: 10^6 bytes per iteration, mean over the source ranks,
// without those for the own rank where that is known. NaN for layers without tokens, which the
// average leaves out.
Table traffic_table(const Subject& subject,
                    std::span<const ReplayedTraffic> layers,
                    const TrafficOptions& options);

// A row per source rank of the recording, a column per rank of the placement: tokens, or MB with
// bytes_per_token, of all layers, mean over the iterations with tokens. The average is the mean of
// each column.
Table rank_traffic_table(const Subject& subject,
                         std::span<const ReplayedTraffic> layers,
                         const TrafficOptions& options);

}  // namespace eplb

#endif
