#include <cstdlib>
#include <utility>

#include "lib/base/error.h"
#include "lib/formats/statistics/statistics_stream.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_folder.h"

namespace {

using namespace eplb;

void check_written_again(ExpertStatistics statistics, const std::string& path) {
    if (statistics.ids != IdKind::slot)
        statistics.layer_updates_per_iter = 0;  // says nothing, and is not written
    OutputFile output(path);
    StatisticsStreamWriter writer(statistics, output);
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
        writer.write_iteration(statistics, iteration);
    writer.write_end(statistics.num_iterations);
    output.commit();
    if (read_statistics_stream(path, {}) != statistics)
        std::abort();
}

}  // namespace

const eplb::fuzz::Target statistics_stream_target("statistics_stream", [](std::string_view input) {
    static const fuzz::ScratchFolder folder;
    const std::string path = folder.write("stream", input);
    ExpertStatistics statistics;
    try {
        read_statistics_stream(path, {{}, {}, true});
        statistics = read_statistics_stream(path, {});
    } catch (const Error&) {  // what bad input is to end in
        return;
    }
    check_written_again(std::move(statistics), (folder.path() / "again").string());
});
