#include <map>
#include <string>

#include "lib/cluster/launch.h"
#include "tests/test_support.h"

namespace eplb::test_launch {

using eplb::test::error_of;

namespace {

using Variables = std::map<std::string, std::string>;

Launch launch_of(const Variables& variables, const LaunchFlags& flags = {}) {
    return find_launch(flags, [&](const char* name) -> const char* {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
    });
}

std::string launch_error(const Variables& variables, const LaunchFlags& flags = {}) {
    return error_of([&] { launch_of(variables, flags); });
}

std::string place(const Launch& launch) {
    const MeetingPoint& point = launch.meeting_point;
    return point.file.empty() ? point.host + " " + std::to_string(point.port) : point.file;
}

const Variables kTorchrun = {
    {"RANK", "5"},           {"WORLD_SIZE", "8"},       {"LOCAL_RANK", "1"},
    {"GROUP_RANK", "1"},     {"LOCAL_WORLD_SIZE", "4"}, {"MASTER_ADDR", "gpu00"},
    {"MASTER_PORT", "29500"}};
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "2"},
                            {"OMPI_COMM_WORLD_SIZE", "3"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "3"},
                            {"PMIX_RANK", "2"}};
const Variables kHydra = {
    {"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}};
const Variables kSbatch = {{"SLURM_JOB_ID", "1234567"},
                           {"SLURM_PROCID", "0"},
                           {"SLURM_LOCALID", "0"},
                           {"SLURM_NTASKS", "16"},
                           {"SLURM_JOB_NODELIST", "gnode[10,20-22]"}};
const Variables kSrun = {{"SLURM_JOB_ID", "1234567"},   {"SLURM_STEP_ID", "3"},
                         {"SLURM_PROCID", "6"},         {"SLURM_LOCALID", "2"},
                         {"SLURM_NTASKS", "16"},        {"SLURM_STEP_NUM_TASKS", "16"},
                         {"SLURM_STEP_NUM_NODES", "4"}, {"SLURM_STEP_NODELIST", "gnode[10,20-22]"}};

Variables with(Variables variables, const Variables& more) {
    for (const auto& [name, value] : more)
        variables[name] = value;
    return variables;
}

void check(const Launch& launch, int rank, int world_size, int local_rank, const char* place_text) {
    CHECK(launch.rank == rank);
    CHECK(launch.world_size == world_size);
    CHECK(launch.local_rank == local_rank);
    CHECK(place(launch) == place_text);
}

}  // namespace

TEST_CASE("without a launcher there is one process, which meets nobody") {
    const Launch launch = launch_of({});
    check(launch, 0, 1, 0, " 0");
    CHECK(launch.source == "no launcher: one process");
}

TEST_CASE("each launcher's variables") {
    check(launch_of(kTorchrun), 5, 8, 1, "gpu00 29500");
    CHECK(launch_of(kTorchrun).source == "torchrun (RANK, WORLD_SIZE)");
    check(launch_of(kOpenMpi), 2, 3, 2, "127.0.0.1 29571");
    CHECK(launch_of(kOpenMpi).source == "OpenMPI (OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE)");
    check(launch_of(kHydra), 1, 2, 1, "127.0.0.1 29571");
    CHECK(launch_of(kHydra).source == "PMI (PMI_RANK, PMI_SIZE)");
    // 20000 + (16 * 1234567 + 3) mod 12000 = 20000 + 19753075 mod 12000 = 20000 + 1075
    check(launch_of(kSrun), 6, 16, 2, "gnode10 21075");
    CHECK(launch_of(kSrun).source == "a step of Slurm (SLURM_PROCID, SLURM_STEP_NUM_TASKS)");
    const Variables own = {{"EPLB_RANK", "3"}, {"EPLB_WORLD_SIZE", "4"}, {"EPLB_MASTER", "a:7"}};
    check(launch_of(own), 3, 4, -1, "a 7");
    check(launch_of(with(own, {{"EPLB_LOCAL_RANK", "1"}})), 3, 4, 1, "a 7");
}

TEST_CASE("a script under sbatch is one process, not rank 0 of many") {
    check(launch_of(kSbatch), 0, 1, 0, " 0");
    // and mpirun in such a script counts
    check(launch_of(with(kSbatch, kHydra)), 1, 2, 1, "127.0.0.1 29571");
}

TEST_CASE("flags, then own variables, torchrun, OpenMPI, PMI, Slurm") {
    Variables all = kSrun;
    CHECK(launch_of(all).world_size == 16);
    all = with(all, kHydra);
    CHECK(launch_of(all).world_size == 2);
    all = with(all, kOpenMpi);
    CHECK(launch_of(all).world_size == 3);
    all = with(all, kTorchrun);
    CHECK(launch_of(all).world_size == 8);
    all = with(all, {{"EPLB_RANK", "1"}, {"EPLB_WORLD_SIZE", "9"}});
    CHECK(launch_of(all).world_size == 9);
    const Launch launch =
        launch_of(all, {.rank = 4, .world_size = 5, .local_rank = 3, .master = {}});
    check(launch, 4, 5, 3, "gpu00 29500");
    CHECK(launch.source == "flags");
    // parts by themselves
    check(launch_of(kTorchrun, {.rank = {}, .world_size = {}, .local_rank = 7, .master = "b:1"}), 5,
          8, 7, "b 1");
    CHECK(launch_of(kTorchrun, {.rank = {}, .world_size = 1, .local_rank = {}, .master = {}})
              .world_size == 1);
}

TEST_CASE("where to meet") {
    CHECK(place(launch_of(with(kSrun, {{"MASTER_ADDR", "x"}, {"MASTER_PORT", "1"}}))) == "x 1");
    CHECK(place(launch_of(with(kTorchrun, {{"EPLB_MASTER", "file:/tmp/x"}}))) == "/tmp/x");
    CHECK(place(launch_of(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}}))) ==
          "gpu00 29501");
    CHECK(place(launch_of(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}}))) ==
          "gpu00 29500");
    // PMI under srun: the step has the same processes
    check(launch_of(with(kSrun, {{"PMI_RANK", "7"}, {"PMI_SIZE", "16"}})), 7, 16, 2,
          "gnode10 21075");
    CHECK(place(launch_of(with(kSrun, {{"SLURM_STEP_NODELIST", "gnode[7]"}}))) ==
          "127.0.0.1 21075");
    CHECK_STARTS_WITH(launch_error(with(kHydra, {{"MPI_LOCALNRANKS", "1"}})),
                      "rank 1 of 2: it is not known where rank 0 is: give master HOST:PORT");
    CHECK_STARTS_WITH(
        launch_error({}, {.rank = 1, .world_size = 2, .local_rank = {}, .master = {}}),
        "rank 1 of 2: it is not known where rank 0 is: give master HOST:PORT");
}

TEST_CASE("the first host of Slurm's lists") {
    const auto first = [](const std::string& hosts) {
        bool is_only = false;
        const std::string host = first_host(hosts, "LIST", is_only);
        return host + (is_only ? " alone" : "");
    };
    CHECK(first("gnode[10,20-22]") == "gnode10");
    CHECK(first("gnode[20-22,10]") == "gnode20");
    CHECK(first("a[01-03],b") == "a01");
    CHECK(first("b,a[01-03]") == "b");
    CHECK(first("login-1") == "login-1 alone");
    CHECK(first("gnode[7]") == "gnode7 alone");
    CHECK(first("rack[1-2]node[3-4].x") == "rack1node3.x");
    CHECK(first("rack[1]node[3-4].x") == "rack1node3.x");
    CHECK(first("rack[1]node[3].x") == "rack1node3.x alone");
    for (const char* wrong : {"", "a[", "a[1", "a[]", ",a", "a[-1]"}) {
        CAPTURE(wrong);
        CHECK_STARTS_WITH(error_of([&] { first(wrong); }),
                          "LIST: '" + std::string(wrong) + "' is no list of hosts; give master");
    }
}

TEST_CASE("addresses as people write them") {
    const auto read = [](const std::string& text) {
        const MeetingPoint point = parse_meeting_point(text, "--master");
        return point.host + "|" + std::to_string(point.port) + "|" + point.file;
    };
    CHECK(read("gpu00:29500") == "gpu00|29500|");
    CHECK(read("10.0.0.1:1") == "10.0.0.1|1|");
    CHECK(read("[fe80::1]:65535") == "fe80::1|65535|");
    CHECK(read("file:/shared/a:b") == "|0|/shared/a:b");
    for (const char* wrong : {"", "gpu00", ":1", "::1:2", "[]:5", "gpu00:", "gpu00:0",
                              "gpu00:65536", "gpu00:1x", "gpu00:-1", "file:"}) {
        CAPTURE(wrong);
        CHECK_STARTS_WITH(error_of([&] { read(wrong); }), "--master: '");
    }
}

TEST_CASE("half a pair is an error") {
    CHECK_STARTS_WITH(launch_error({{"RANK", "0"}}), "RANK is set without WORLD_SIZE: set both");
    CHECK_STARTS_WITH(launch_error({{"WORLD_SIZE", "2"}}), "WORLD_SIZE is set without RANK");
    CHECK_STARTS_WITH(launch_error({{"OMPI_COMM_WORLD_RANK", "2"}}),
                      "OMPI_COMM_WORLD_RANK is set without OMPI_COMM_WORLD_SIZE");
    CHECK_STARTS_WITH(launch_error({{"PMI_SIZE", "2"}}), "PMI_SIZE is set without PMI_RANK");
    CHECK_STARTS_WITH(launch_error({{"SLURM_STEP_NUM_TASKS", "2"}}),
                      "SLURM_STEP_NUM_TASKS is set without SLURM_PROCID");
    CHECK_STARTS_WITH(launch_error(with(kTorchrun, {{"EPLB_RANK", "1"}})),
                      "EPLB_RANK is set without EPLB_WORLD_SIZE");
    // a cluster's own WORLD_SIZE beside a launcher that says all
    CHECK(launch_of(with(kSrun, {{"WORLD_SIZE", "2"}})).world_size == 16);
    CHECK_STARTS_WITH(launch_error(with(kSrun, {{"MASTER_ADDR", "a"}})),
                      "MASTER_ADDR is set without MASTER_PORT");
    CHECK_STARTS_WITH(launch_error(with(kSrun, {{"MASTER_PORT", "1"}})),
                      "MASTER_PORT is set without MASTER_ADDR");
    CHECK_STARTS_WITH(
        launch_error({}, {.rank = 1, .world_size = {}, .local_rank = {}, .master = {}}),
        "rank is given without world_size");
    CHECK_STARTS_WITH(
        launch_error({}, {.rank = {}, .world_size = 2, .local_rank = {}, .master = {}}),
        "world_size is given without rank");
}

TEST_CASE("values that cannot be") {
    CHECK_STARTS_WITH(launch_error(with(kTorchrun, {{"RANK", "one"}})), "RANK: 'one' is no number");
    CHECK_STARTS_WITH(launch_error(with(kTorchrun, {{"RANK", "1.5"}})), "RANK: '1.5' is no number");
    CHECK_STARTS_WITH(launch_error(with(kTorchrun, {{"RANK", "-1"}})), "RANK: '-1' is no number");
    CHECK_STARTS_WITH(launch_error(with(kTorchrun, {{"RANK", "8"}})),
                      "rank 8 (torchrun (RANK, WORLD_SIZE)): not in [0, 8)");
    CHECK_STARTS_WITH(launch_error(with(kTorchrun, {{"WORLD_SIZE", "0"}})),
                      "world size 0 (torchrun");
    CHECK_STARTS_WITH(launch_error(with(kTorchrun, {{"LOCAL_RANK", "8"}})),
                      "local rank 8: not in [0, 8)");
    CHECK_STARTS_WITH(launch_error(with(kTorchrun, {{"MASTER_PORT", "http"}})),
                      "MASTER_PORT: 'http' is no port");
    CHECK_STARTS_WITH(
        launch_error({}, {.rank = 2, .world_size = 2, .local_rank = {}, .master = {}}),
        "rank 2 (flags): not in [0, 2)");
    // an empty variable is none
    CHECK(launch_of({{"RANK", ""}, {"WORLD_SIZE", ""}}).world_size == 1);
}

}  // namespace eplb::test_launch
