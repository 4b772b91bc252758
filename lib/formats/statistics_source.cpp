#include "lib/formats/statistics_source.h"

#include <filesystem>
#include <system_error>

#include "lib/base/error.h"
#include "lib/formats/statistics_stream.h"
#include "lib/formats/trtllm_statistics.h"

namespace eplb {

ExpertStatistics read_statistics(const std::string& path,
                                 const StatisticsSelection& selection,
                                 ThreadPool& threads,
                                 RowSink* rows) {
    if (path == "-")
        return read_statistics_stream(path, selection, rows);
    std::error_code ignored;
    const auto status = std::filesystem::status(path, ignored);
    if (status.type() == std::filesystem::file_type::not_found)
        throw Error(path + ": no such file or folder; name a statistics folder, a stream or -");
    if (std::filesystem::is_directory(status))
        return read_trtllm_statistics(path, selection, threads, rows);
    if (path.ends_with(".safetensors"))
        throw Error(path + ": is one file of a statistics folder; name the folder");
    return read_statistics_stream(path, selection, rows);
}

}  // namespace eplb
