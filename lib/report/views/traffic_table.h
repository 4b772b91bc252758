#ifndef EPLB_REPORT_VIEWS_TRAFFIC_TABLE_H
#define EPLB_REPORT_VIEWS_TRAFFIC_TABLE_H

#include <deque>
#include <span>

#include "lib/placement/route/replayed_traffic.h"
#include "lib/report/subject.h"
#include "lib/report/table.h"

namespace eplb {

struct TrafficOptions {
    int num_nodes = 1;           // blocks of neighbouring ranks; divides ep_size
    double bytes_per_token = 0;  // on the way to a rank; 0: tokens are counted
};

// [layers]: to be given the routed ids of the subject's layers and iterations. Where the subject
// knows no experts, these are its slots. num_sources: ranks of the recording.
std::deque<TrafficReplay> traffic_replays(const Subject& subject, int num_sources, int num_nodes);

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
