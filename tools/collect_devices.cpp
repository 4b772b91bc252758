#include "tools/collect_devices.h"

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "kernels/backends.h"
#include "kernels/cpu/socket_communicator.h"
#include "kernels/cpu/thread_communicator.h"
#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/cluster/launch.h"
#include "lib/cluster/meeting.h"
#include "lib/cluster/tcp_group.h"
#include "lib/cluster/thread_group.h"
#include "tools/collect_recording.h"
#include "tools/tool.h"
#include "tools/version.h"

namespace eplb::cli {
namespace {

Launch find_launch(const CollectOptions& options) {
    LaunchFlags flags;
    flags.rank = options.rank;
    flags.world_size = options.world_size;
    flags.local_rank = options.local_rank;
    if (!options.master.empty())
        flags.master = options.master;
    try {
        return eplb::find_launch(flags, [](const char* name) { return std::getenv(name); });
    } catch (const Error& error) {
        throw UsageError(error.what());
    }
}

BackendKind find_backend(const CollectOptions& options) {
    if (options.backend == BackendChoice::cpu)
        return BackendKind::cpu;
    if (options.backend == BackendChoice::cuda && !has_cuda_build())
        throw GateError(
            "--backend cuda: this build has no CUDA; run with --backend cpu, or build "
            "with -Dcuda=enabled");
    const int num_gpus = num_cuda_devices();
    if (options.backend == BackendChoice::cuda && num_gpus == 0)
        throw Error("--backend cuda: no GPU can be used here; run with --backend cpu");
    return num_gpus > 0 ? BackendKind::cuda : BackendKind::cpu;
}

// What all processes of a run must have in common: the options given, but for those in which they
// differ by nature, and the inputs.
std::string configuration_of(const CollectOptions& options,
                             const Recording& recording,
                             BackendKind kind) {
    std::string text = std::string(EPLB_VERSION) + ", " +
                       (kind == BackendKind::cuda ? "cuda" : "cpu") + ", records " +
                       (recording.path.empty() ? "nothing" : recording.path);
    if (recording.range)
        text += " " + std::to_string(recording.range->start) + "-" +
                std::to_string(recording.range->stop);
    for (const GivenOption& option : options.given) {
        constexpr std::string_view kNotCompared[] = {
            "rank", "local_rank", "threads", "master", "iter_range", "expert_statistic_path"};
        if (std::find(std::begin(kNotCompared), std::end(kNotCompared), option.name) !=
            std::end(kNotCompared))
            continue;
        text += ", --" + option.name;
        for (const std::string& value : option.values)
            text += " " + value;
    }
    std::vector<std::string> inputs = {options.dataset, options.load_balancer,
                                       options.extra_llm_api_options};
    if (!options.model.empty())
        for (const char* const name : {"/config.json", "/model.safetensors.index.json"})
            if (std::filesystem::exists(options.model + name))
                inputs.push_back(options.model + name);
    for (const std::string& path : inputs)
        if (!path.empty()) {
            Hash content;
            content.add(read_file(path));
            text += ", " + path + " holds " + content.text();
        }
    return text;
}

// The threads of one of several devices that share a machine: their part of the processors, unless
// a launcher gave each its own.
int threads_of_device(const CollectOptions& options, int num_devices_here) {
    if (options.num_threads > 0)
        return options.num_threads;
    const int usable = ThreadPool().num_threads();
    const bool is_bound = usable < static_cast<int>(std::thread::hardware_concurrency());
    return is_bound ? usable : std::max(1, usable / num_devices_here);
}

// All of one process' part of a run.
class Part {
  public:
    Part(const CollectOptions& options, int num_threads, BackendKind kind, int device)
        : threads_(num_threads),
          backend_(make_backend(kind, device, threads_, {.precision = options.precision})),
          is_gpu_(kind == BackendKind::cuda) {}

    Device alone() { return {threads_, *backend_, is_gpu_}; }

    Device in(ProcessGroup& group, std::unique_ptr<Communicator> communicator) {
        communicator_ = std::move(communicator);
        return {threads_, *backend_, is_gpu_, &group, communicator_.get()};
    }

    Backend& backend() { return *backend_; }

  private:
    ThreadPool threads_;
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<Communicator> communicator_;
    bool is_gpu_;
};

enum class OthersEnd { none, failed, interrupted };

// How another member of the group ended, if one did.
OthersEnd end_of_others(ProcessGroup& group) {
    try {
        group.check();
        return OthersEnd::none;
    } catch (const InterruptedError&) {
        return OthersEnd::interrupted;
    } catch (const Error&) {
        return OthersEnd::failed;
    }
}

// Runs `body` as a member of a group: the others are told where it fails.
int run_member(const Output& out,
               ProcessGroup& group,
               const std::string& name,
               const std::function<int()>& body) {
    try {
        const int code = body();
        group.barrier();  // nobody is done before all are
        return code;
    } catch (const Stopped&) {
        group.interrupt();
        out.warn("interrupted: nothing was recorded");
        return kInterrupted;
    } catch (const std::exception& error) {
        const OthersEnd others = end_of_others(group);
        if (others == OthersEnd::interrupted || (others == OthersEnd::failed && is_interrupted())) {
            out.warn(std::string("interrupted: nothing was recorded; ") + error.what());
            return kInterrupted;
        }
        if (others == OthersEnd::failed)
            throw;
        group.fail(error.what());
        const std::string what = name + ": " + error.what();
        if (dynamic_cast<const UsageError*>(&error) != nullptr)
            throw UsageError(what);
        if (dynamic_cast<const GateError*>(&error) != nullptr)
            throw GateError(what);
        throw Error(what);
    }
}

int run_process(const Output& run_out,
                const CollectOptions& options,
                const Launch& launch,
                BackendKind kind,
                const std::string& configuration,
                const std::function<int(const Output&, const Device&)>& body) {
    const Output out = launch.rank == 0 ? run_out : run_out.quiet();
    out.note("rank " + std::to_string(launch.rank) + " of " + std::to_string(launch.world_size) +
             ", by " + launch.source + (kind == BackendKind::cuda ? ", on GPUs" : ", on CPUs"));
    stop_at_signals();
    std::unique_ptr<TcpProcessGroup> met;
    try {
        met = std::make_unique<TcpProcessGroup>(
            launch, TcpGroupOptions{.configuration = configuration,
                                    .meeting_limit = std::chrono::seconds(options.meeting_limit),
                                    .is_interrupted = is_interrupted,
                                    .silence_limit = std::chrono::seconds(options.silence_limit)});
    } catch (const InterruptedError& error) {
        out.warn(std::string("nothing was recorded: ") + error.what());
        return kInterrupted;
    }
    TcpProcessGroup& group = *met;
    const std::string name = describe_rank(launch.rank, group.hosts()[launch.rank]);
    return run_member(out, group, name, [&] {
        const int local_rank = launch.local_rank >= 0 ? launch.local_rank : group.local_rank();
        const auto num_here =
            std::count(group.hosts().begin(), group.hosts().end(), group.hosts()[launch.rank]);
        Part part(options, threads_of_device(options, static_cast<int>(num_here)), kind,
                  kind == BackendKind::cuda ? local_rank % num_cuda_devices() : 0);
        std::unique_ptr<Communicator> communicator;
        if (kind == BackendKind::cuda)
            communicator = make_gpu_communicator(part.backend(), group);
        else
            communicator = std::make_unique<SocketCommunicator>(group, group.local_address());
        return body(out, part.in(group, std::move(communicator)));
    });
}

int run_threads(const Output& out,
                const CollectOptions& options,
                BackendKind kind,
                const std::function<int(const Output&, const Device&)>& body) {
    const int num_devices = options.num_devices;
    if (kind == BackendKind::cuda && num_devices > num_cuda_devices())
        throw UsageError("--devices " + std::to_string(num_devices) + ": there are " +
                         std::to_string(num_cuda_devices()) + " GPUs here");
    ThreadGroup threads(num_devices);
    std::mutex mutex;
    std::exception_ptr first_error;
    std::vector<int> codes(num_devices, kDone);
    const auto run = [&](int rank) {
        try {
            const Output member_out = rank == 0 ? out : out.quiet();
            const std::unique_ptr<ProcessGroup> group = threads.member(rank);
            codes[rank] = run_member(member_out, *group, "device " + std::to_string(rank), [&] {
                const int num_threads =
                    options.num_threads > 0 ? options.num_threads : ThreadPool().num_threads();
                Part part(options, std::max(1, num_threads / num_devices), kind, rank);
                std::unique_ptr<Communicator> communicator;
                if (kind == BackendKind::cuda)
                    communicator = make_gpu_communicator(part.backend(), *group);
                else
                    communicator = std::make_unique<ThreadCommunicator>(*group);
                return body(member_out, part.in(*group, std::move(communicator)));
            });
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!first_error)
                first_error = std::current_exception();
        }
    };
    std::vector<std::thread> others;
    try {
        for (int rank = 1; rank < num_devices; ++rank)
            others.emplace_back(run, rank);
    } catch (const std::system_error& error) {
        threads.member(static_cast<int>(others.size()) + 1)->fail(error.what());
    }
    run(0);
    for (std::thread& other : others)
        other.join();
    if (first_error)
        std::rethrow_exception(first_error);
    return codes.front();
}

}  // namespace

int run_on_devices(const Output& out,
                   const CollectOptions& options,
                   const Recording& recording,
                   const std::function<int(const Output&, const Device&)>& body) {
    const Launch launch = find_launch(options);
    if (launch.world_size > 1 || options.num_devices > 1)
        // a kernel that is loaded at its first use may wait for one of NCCL's, which waits for
        // peers
        ::setenv("CUDA_MODULE_LOADING", "EAGER", 0);
    const BackendKind kind = find_backend(options);
    if (kind == BackendKind::cpu && options.precision == ProductPrecision::bf16 && launch.rank == 0)
        out.warn("--precision bf16 is for GPUs: on a CPU all products are fp32");
    if (launch.world_size > 1 && (options.resume || !options.state.empty()))
        throw UsageError("--resume, --state: a run of several processes keeps no state to resume");
    if (launch.world_size > 1 && options.num_devices > 1)
        throw UsageError("--devices is for one process; here are " +
                         std::to_string(launch.world_size) + ", by " + launch.source);
    if (launch.world_size > 1)
        return run_process(out, options, launch, kind, configuration_of(options, recording, kind),
                           body);
    if (options.num_devices > 1)
        return run_threads(out, options, kind, body);
    Part part(options, options.num_threads, kind,
              kind == BackendKind::cuda && launch.local_rank > 0
                  ? launch.local_rank % num_cuda_devices()
                  : 0);
    return body(out, part.alone());
}

}  // namespace eplb::cli
