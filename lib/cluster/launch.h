#ifndef EPLB_CLUSTER_LAUNCH_H
#define EPLB_CLUSTER_LAUNCH_H

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace eplb {

// Where the processes of a run find each other: an address at which rank 0 listens, or a file that
// all of them see, in which rank 0 writes how it is reached.
struct MeetingPoint {
    std::string host;  // a name, an IPv4 or an IPv6 address without brackets
    int port = 0;
    std::string file;  // not empty: this file, instead of an address
};

// "host:port", "[IPv6]:port" or "file:PATH". Errors start with `what`, which names its origin.
MeetingPoint parse_meeting_point(std::string_view text, const std::string& what);

// Who this process is among those of its run.
struct Launch {
    int rank = 0;
    int world_size = 1;
    // Among the processes of this host; -1 where the launcher does not say. The group can tell then
    // (TcpProcessGroup::local_rank()).
    int local_rank = 0;
    MeetingPoint meeting_point;  // nowhere for a run of one process
    std::string source;          // for the user: "torchrun (RANK, WORLD_SIZE)"
};

// What the command line says, each part optional. `rank` and `world_size` go together, except that
// a world of 1 needs no rank.
struct LaunchFlags {
    std::optional<int> rank;
    std::optional<int> world_size;
    std::optional<int> local_rank;
    std::optional<std::string> master;  // as parse_meeting_point() reads it
};

// The value of an environment variable, or null.
using EnvironmentLookup = std::function<const char*(const char* name)>;

// Rank and world size are those of the first that gives both:
//
//   flags                 rank, world_size
//   our own variables     EPLB_RANK, EPLB_WORLD_SIZE
//   torchrun              RANK, WORLD_SIZE
//   OpenMPI               OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE
//   PMI (MPICH, Hydra)    PMI_RANK, PMI_SIZE
//   a step of Slurm       SLURM_PROCID, SLURM_STEP_NUM_TASKS
//   nobody                one process
//
// A script under sbatch has SLURM_PROCID and SLURM_NTASKS, but is one process: only srun starts
// several, and sets SLURM_STEP_NUM_TASKS.
//
// The local rank: flags, EPLB_LOCAL_RANK, what the same launcher sets (LOCAL_RANK,
// OMPI_COMM_WORLD_LOCAL_RANK, MPI_LOCALRANKID), SLURM_LOCALID in a step of as many processes, the
// rank where all run on one host, else -1.
//
// The meeting point: flags, EPLB_MASTER, MASTER_ADDR and MASTER_PORT; for a step of Slurm the first
// host of SLURM_STEP_NODELIST and port 20000 + (16 * job id + step id) mod 12000; where the
// launcher says that all processes run on one host 127.0.0.1, port 29571. torchrun's own store
// listens at MASTER_PORT if TORCHELASTIC_USE_AGENT_STORE is "True": the port is the next one then.
//
// An Error says what is missing or wrong, and what to set.
Launch find_launch(const LaunchFlags& flags, const EnvironmentLookup& environment);

// The first host of a list in Slurm's notation, "gnode[10,20-22],login": "gnode10". Sets `is_only`
// to whether there is no other. Errors start with `what`.
std::string first_host(std::string_view hosts, const std::string& what, bool& is_only);

}  // namespace eplb

#endif
