#ifndef EPLB_FORMATS_STATISTICS_STATISTICS_STREAM_H
#define EPLB_FORMATS_STATISTICS_STATISTICS_STREAM_H

#include <string>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/statistics/expert_statistics.h"
#include "lib/statistics/row_sink.h"
#include "lib/statistics/selection.h"

// Statistics as JSON lines, for pipes. data/README.md documents the format:
//
//   {"format":"eplb-statistics","version":1,"num_experts":256,"top_k":8,"ep_size":32,
//    "layers":[3,…],"iter_start":100}                              (one line; ids and
//                                    layer_updates_per_iter follow where ids are slots)
//   {"iteration":100,"layer":3,"counts":[[…256 integers…], …32 ranks…]}   one line per pair
//   {"end":true,"num_iterations":30}
//
// Lines of pairs come in any order. A stream without its last line was cut off: an error.
namespace eplb {

// Writes while the run goes on: the first line on construction, then rows, then the end. The
// statistics' num_iterations and counts are not used for the first line.
class StatisticsStreamWriter {
  public:
    StatisticsStreamWriter(const ExpertStatistics& shape, OutputFile& output);

    // All layers and source ranks of one iteration, a position from 0 in `statistics`.
    void write_iteration(const ExpertStatistics& statistics, int iteration);
    void write_end(int num_iterations);

  private:
    OutputFile& output_;
    std::string line_;
};

// The first line is none of a stream: the text may come in another format.
class NoStreamError : public Error {
  public:
    using Error::Error;
};

// Reads a stream from a file or, for "-", standard input. Errors name the line. rows, where given,
// sees the counts of each source rank on the way.
ExpertStatistics read_statistics_stream(const std::string& path,
                                        const StatisticsSelection& selection,
                                        RowSink* rows = nullptr);

}  // namespace eplb

#endif
