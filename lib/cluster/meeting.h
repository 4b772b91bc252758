#ifndef EPLB_CLUSTER_MEETING_H
#define EPLB_CLUSTER_MEETING_H

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "lib/cluster/launch.h"
#include "lib/cluster/reception.h"

namespace eplb {

struct MeetingRequest {
    int rank = 0;
    int world_size = 1;  // >= 2
    MeetingPoint point;
    // What all processes must have in common, for people to read: the model, ep_size, …
    std::string configuration;
    std::chrono::milliseconds time_limit{300'000};
    std::chrono::milliseconds last_message{1000};  // as in TcpGroupOptions
    // asked while waiting: an Error where it says yes; may be null
    std::function<bool()> is_interrupted = {};
};

// How the processes of a run found each other.
struct Met {
    // At rank 0: [world_size], to each of the others, its own not open. At others one, to rank 0.
    std::vector<Connection> connections;
    std::vector<std::string> hosts;  // [world_size], their names
    std::string local_address;       // by which others reached this process, or it reached rank 0
};

// Brings the processes together: rank 0 listens, the others connect as soon as it does. All of
// them return, or all that have come throw an Error: where one differs in world size or
// configuration, comes twice, dies, or has not come at the time limit; an InterruptedError where
// one was interrupted.
//
// In a shared file rank 0 writes how it is reached, and removes it when all have come. A file of
// an earlier run is overwritten by rank 0; who reads it before finds nobody there, or somebody with
// another nonce, and reads again. Any other file that is there is an Error, and stays.
Met meet(const MeetingRequest& request);

// "rank 3 (host gpu07)"
std::string describe_rank(int rank, const std::string& host);
// "0.5 s"
std::string in_seconds(std::chrono::milliseconds time);

}  // namespace eplb

#endif
