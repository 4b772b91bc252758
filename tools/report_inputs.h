#ifndef EPLB_TOOLS_REPORT_INPUTS_H
#define EPLB_TOOLS_REPORT_INPUTS_H

#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/report/subject.h"
#include "tools/report_options.h"

namespace eplb {

// What one statistics source holds: the recorded load, and what each config makes of it.
struct ReportInput {
    std::string path;
    ExpertStatistics statistics;     // summed over source ranks, but for held_out
    Subject recorded;                // ep_size: --ep_size where it divides the experts (or slots)
    std::vector<Subject> projected;  // [configs]
};

// In the order of the command line. Says on stderr what a reader of the report should know.
std::vector<ReportInput> load_report_inputs(const CLI::App& app,
                                            const ReportOptions& options,
                                            ThreadPool& threads);

}  // namespace eplb

#endif
