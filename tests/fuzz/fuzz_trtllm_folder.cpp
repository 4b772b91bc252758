// A whole statistics folder. The input is its files one after the other, each after a line
// "=== NAME" of its own; files of names that no recorder gives are left out.
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "lib/base/error.h"
#include "lib/formats/statistics/trtllm_cooccurrence.h"
#include "lib/formats/statistics/trtllm_statistics.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_folder.h"

namespace {

using namespace eplb;

constexpr std::string_view kStart = "\n=== ";
constexpr std::string_view kNames[] = {"meta_info.json",
                                       "rank0.safetensors",
                                       "rank1.safetensors",
                                       "token_selected_experts_rank0.safetensors",
                                       "token_selected_experts_rank1.safetensors",
                                       "rank0_raw.safetensors",
                                       "rank1_raw.safetensors",
                                       "rank0_numtokens.json",
                                       "rank1_numtokens.json",
                                       "cooccurrence_rank0.safetensors",
                                       "cooccurrence_rank1.safetensors"};

void write_files(const fuzz::ScratchFolder& folder, std::string_view input) {
    std::size_t start = input.find(kStart);
    while (start != std::string_view::npos) {
        const std::size_t next = input.find(kStart, start + 1);
        const std::string_view part =
            input.substr(start + kStart.size(), next - start - kStart.size());
        const std::size_t end_of_name = part.find('\n');
        const std::string_view name = part.substr(0, end_of_name);
        if (end_of_name != std::string_view::npos &&
            std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames))
            folder.write(std::string(name), part.substr(end_of_name + 1));
        start = next;
    }
}

void check_written_again(const ExpertStatistics& statistics, const RoutedIds* routed) {
    static const fuzz::ScratchFolder folder;
    TrtllmStatisticsFolder(folder.path()).write(statistics, routed);
    ThreadPool alone(1);
    ExpertStatistics expected = statistics;
    if (expected.ids != IdKind::slot)
        expected.layer_updates_per_iter = 0;  // says nothing, and is not written
    if (read_trtllm_statistics(folder.path(), {}, alone) != expected)
        std::abort();
    const std::optional<RoutedIds> again = read_trtllm_routed_ids(folder.path(), statistics);
    if (again.has_value() != (routed != nullptr) || (routed != nullptr && *again != *routed))
        std::abort();
}

}  // namespace

const eplb::fuzz::Target trtllm_folder_target("trtllm_folder", [](std::string_view input) {
    static const fuzz::ScratchFolder folder;
    folder.clear();
    write_files(folder, input);
    ThreadPool alone(1);
    ExpertStatistics statistics;
    try {
        statistics = read_trtllm_statistics(folder.path(), {}, alone);
    } catch (const Error&) {  // what bad input is to end in
        return;
    }
    check_written_again(statistics, nullptr);
    const ExpertStatistics sums = read_trtllm_statistics(folder.path(), {{}, {}, true}, alone);
    std::optional<RoutedIds> routed;
    try {
        routed = read_trtllm_routed_ids(folder.path(), statistics);
    } catch (const Error&) {
    }
    if (routed)
        check_written_again(statistics, &*routed);
    try {
        find_incomplete_routed_ids(folder.path(), sums);
        read_trtllm_cooccurrence(folder.path(), {}, alone);
    } catch (const Error&) {
    }
});
