#include "lib/cluster/launch.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "lib/base/error.h"
#include "lib/base/setting.h"

namespace eplb {
namespace {

constexpr int kDefaultPort = 29571;
constexpr int kMaxPort = 65535;

std::string how_to_meet() {
    return "give " + setting("master") +
           " HOST:PORT or set EPLB_MASTER: an address of rank 0's host that all reach and a free "
           "port there, or file:PATH, a file on a file system that all share; or set MASTER_ADDR "
           "and MASTER_PORT";
}

template <typename Integer>
std::optional<Integer> to_integer(std::string_view text) {
    Integer value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return value;
}

int parse_port(std::string_view text, const std::string& what) {
    const auto port = to_integer<int>(text);
    if (!port || *port < 1 || *port > kMaxPort)
        throw Error(what + ": '" + std::string(text) + "' is no port, a number from 1 to 65535");
    return *port;
}

class Environment {
  public:
    explicit Environment(const EnvironmentLookup& lookup) : lookup_(lookup) {}

    // An empty value counts as none: launch scripts clear variables so.
    std::optional<std::string> text(const char* name) const {
        const char* const value = lookup_(name);
        return value == nullptr || *value == '\0' ? std::nullopt
                                                  : std::optional<std::string>(value);
    }
    bool has(const char* name) const { return text(name).has_value(); }

    template <typename Integer = int>
    std::optional<Integer> number(const char* name) const {
        const auto value = text(name);
        if (!value)
            return std::nullopt;
        const auto number = to_integer<Integer>(*value);
        if (!number || *number < 0)
            throw Error(std::string(name) + ": '" + *value +
                        "' is no number; the launcher sets it, or unset it");
        return number;
    }

  private:
    const EnvironmentLookup& lookup_;
};

struct Launcher {
    const char* name;
    const char* rank;
    const char* world_size;
    const char* local_rank;
    const char* local_size;  // null: the launcher does not say
};
// in the order of precedence
constexpr Launcher kLaunchers[] = {
    {"our own variables", "EPLB_RANK", "EPLB_WORLD_SIZE", "EPLB_LOCAL_RANK", nullptr},
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {"OpenMPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
    {"a step of Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", nullptr},
};

bool is_slurm(const Launcher& launcher) {
    return launcher.rank == std::string_view("SLURM_PROCID");
}

[[noreturn]] void throw_half(const std::string& set, const std::string& missing) {
    throw Error(set + " is set without " + missing + ": set both, or none for a single process");
}

// The first launcher that gives rank and world size. Half a pair is an error, unless one further
// down has both: clusters set WORLD_SIZE for purposes of their own.
const Launcher* find_launcher(const Environment& environment) {
    const Launcher* half = nullptr;
    for (const Launcher& launcher : kLaunchers) {
        const bool has_rank = environment.has(launcher.rank);
        const bool has_size = environment.has(launcher.world_size);
        if (has_rank && has_size)
            return &launcher;
        if (is_slurm(launcher) && !has_size)
            continue;  // a script under sbatch
        if (half == nullptr && (has_rank || has_size))
            half = &launcher;
        if (half == &kLaunchers[0])
            break;  // ours are set on purpose
    }
    if (half == nullptr)
        return nullptr;
    if (environment.has(half->rank))
        throw_half(half->rank, half->world_size);
    throw_half(half->world_size, half->rank);
}

// Whether all processes of the run are on one host, as far as the launcher says.
bool is_on_one_host(const Launcher* launcher, const Environment& environment, int world_size) {
    if (world_size == 1)
        return true;
    if (launcher == nullptr)
        return false;
    if (launcher->local_size != nullptr)
        return environment.number(launcher->local_size) == world_size;
    return is_slurm(*launcher) && environment.number("SLURM_STEP_NUM_NODES") == 1;
}

// Other launchers may run inside a step: it speaks for them if it has the same processes.
bool is_whole_slurm_step(const Environment& environment, const Launch& launch) {
    return environment.number("SLURM_STEP_NUM_TASKS") == launch.world_size;
}

int find_local_rank(const LaunchFlags& flags,
                    const Environment& environment,
                    const Launcher* launcher,
                    const Launch& launch) {
    if (flags.local_rank)
        return *flags.local_rank;
    if (const auto own = environment.number("EPLB_LOCAL_RANK"))
        return *own;
    if (launcher != nullptr)
        if (const auto local_rank = environment.number(launcher->local_rank))
            return *local_rank;
    if (is_whole_slurm_step(environment, launch))
        if (const auto local_rank = environment.number("SLURM_LOCALID"))
            return *local_rank;
    return is_on_one_host(launcher, environment, launch.world_size) ? launch.rank : -1;
}

MeetingPoint master_variables(const Environment& environment) {
    const auto host = environment.text("MASTER_ADDR");
    const auto port_text = environment.text("MASTER_PORT");
    if (!host)
        throw_half("MASTER_PORT", "MASTER_ADDR");
    if (!port_text)
        throw_half("MASTER_ADDR", "MASTER_PORT");
    int port = parse_port(*port_text, "MASTER_PORT");
    if (environment.text("TORCHELASTIC_USE_AGENT_STORE") == "True")
        port += port == kMaxPort ? -1 : 1;
    return {.host = *host, .port = port, .file = {}};
}

MeetingPoint slurm_meeting_point(const Environment& environment, const std::string& nodes) {
    const auto job = environment.number<std::int64_t>("SLURM_JOB_ID").value_or(0);
    const auto step = environment.number<std::int64_t>("SLURM_STEP_ID").value_or(0);
    bool is_only = false;
    std::string host = first_host(nodes, "SLURM_STEP_NODELIST", is_only);
    // ports below those that the system gives to outgoing connections
    const auto port = static_cast<int>(20000 + (job % 12000 * 16 + step % 12000) % 12000);
    return {.host = is_only ? "127.0.0.1" : std::move(host), .port = port, .file = {}};
}

MeetingPoint find_meeting_point(const LaunchFlags& flags,
                                const Environment& environment,
                                const Launcher* launcher,
                                const Launch& launch) {
    if (flags.master)
        return parse_meeting_point(*flags.master, setting("master"));
    if (const auto own = environment.text("EPLB_MASTER"))
        return parse_meeting_point(*own, "EPLB_MASTER");
    if (environment.has("MASTER_ADDR") || environment.has("MASTER_PORT"))
        return master_variables(environment);
    if (const auto nodes = environment.text("SLURM_STEP_NODELIST");
        nodes && is_whole_slurm_step(environment, launch))
        return slurm_meeting_point(environment, *nodes);
    if (is_on_one_host(launcher, environment, launch.world_size))
        return {.host = "127.0.0.1", .port = kDefaultPort, .file = {}};
    throw Error("rank " + std::to_string(launch.rank) + " of " + std::to_string(launch.world_size) +
                ": it is not known where rank 0 is: " + how_to_meet());
}

void check_rank(const Launch& launch) {
    const std::string rank = std::to_string(launch.rank);
    const std::string world_size = std::to_string(launch.world_size);
    if (launch.world_size < 1)
        throw Error("world size " + world_size + " (" + launch.source +
                    "): a run has at least one process");
    if (launch.rank < 0 || launch.rank >= launch.world_size)
        throw Error("rank " + rank + " (" + launch.source + "): not in [0, " + world_size +
                    "), the world size; ranks count from 0");
}

}  // namespace

MeetingPoint parse_meeting_point(std::string_view text, const std::string& what) {
    constexpr std::string_view kFile = "file:";
    if (text.starts_with(kFile)) {
        if (text.size() == kFile.size())
            throw Error(what + ": 'file:' without a path; give file:PATH");
        return {.host = {}, .port = 0, .file = std::string(text.substr(kFile.size()))};
    }
    const std::size_t colon = text.rfind(':');
    std::string_view host = text.substr(0, std::min(colon, text.size()));
    const bool has_brackets = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (has_brackets)
        host = host.substr(1, host.size() - 2);
    if (colon == std::string_view::npos || host.empty() ||
        (!has_brackets && host.find_first_of(":[]") != std::string_view::npos))
        throw Error(what + ": '" + std::string(text) +
                    "' is no address; give HOST:PORT, [IPV6]:PORT or file:PATH");
    return {
        .host = std::string(host), .port = parse_port(text.substr(colon + 1), what), .file = {}};
}

std::string first_host(std::string_view hosts, const std::string& what, bool& is_only) {
    std::string first;
    is_only = true;
    for (std::size_t i = 0; i < hosts.size(); ++i) {
        if (hosts[i] == ',') {
            is_only = false;
            break;
        }
        if (hosts[i] != '[') {
            first += hosts[i];
            continue;
        }
        const std::size_t close = hosts.find(']', i);
        const std::string_view range =
            close == std::string_view::npos ? "" : hosts.substr(i + 1, close - i - 1);
        const std::string_view number = range.substr(0, range.find_first_of(",-"));
        if (number.empty())
            throw Error(what + ": '" + std::string(hosts) + "' is no list of hosts; " +
                        how_to_meet());
        first += number;
        is_only = is_only && number.size() == range.size();
        i = close;
    }
    if (first.empty())
        throw Error(what + ": '" + std::string(hosts) + "' is no list of hosts; " + how_to_meet());
    return first;
}

Launch find_launch(const LaunchFlags& flags, const EnvironmentLookup& lookup) {
    const Environment environment(lookup);
    Launch launch;
    const Launcher* launcher = nullptr;
    if (flags.rank && !flags.world_size)
        throw UsageError(setting("rank") + " is given without " + setting("world_size") +
                         ": give both");
    if (flags.world_size) {
        if (!flags.rank && *flags.world_size != 1)
            throw UsageError(setting("world_size") + " is given without " + setting("rank") +
                             ": give both");
        launch.rank = flags.rank.value_or(0);
        launch.world_size = *flags.world_size;
        launch.source = "flags";
    } else if ((launcher = find_launcher(environment)) != nullptr) {
        launch.rank = *environment.number(launcher->rank);
        launch.world_size = *environment.number(launcher->world_size);
        launch.source =
            std::string(launcher->name) + " (" + launcher->rank + ", " + launcher->world_size + ")";
    } else {
        launch.source = "no launcher: one process";
    }
    check_rank(launch);
    launch.local_rank = find_local_rank(flags, environment, launcher, launch);
    if (launch.local_rank >= launch.world_size || launch.local_rank < -1)
        throw Error("local rank " + std::to_string(launch.local_rank) + ": not in [0, " +
                    std::to_string(launch.world_size) + "), the world size");
    if (launch.world_size > 1)
        launch.meeting_point = find_meeting_point(flags, environment, launcher, launch);
    return launch;
}

}  // namespace eplb
