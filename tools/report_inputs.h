#ifndef EPLB_TOOLS_REPORT_INPUTS_H
#define EPLB_TOOLS_REPORT_INPUTS_H

#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/report/subject.h"
#include "tools/output.h"
#include "tools/report_options.h"

namespace eplb {

// What one statistics source holds: the recorded load, and what each config makes of it.
struct ReportInput {
    std::string path;
    ExpertStatistics statistics;  // summed over source ranks, but for held_out
    // What ran: experts (or slots) in order on --ep_size ranks where these divide them, else on the
    // recording's, else unbalanced_subject(); with --load_balancer its slots.
    Subject recorded;
    bool is_folded = false;          // slot ids became experts
    std::vector<Subject> projected;  // [configs]
};

// What no balancing gives on ep_size ranks: experts in order; where ep_size does not divide them
// the engine's default_placement(), with as few slots as hold them all.
Subject unbalanced_subject(const ExpertStatistics& statistics, std::string name, int ep_size);

// What is compared and drawn: one recording and then it under each config; several as they are, or
// under the config.
std::vector<const Subject*> compared_subjects(const std::vector<ReportInput>& inputs);

// In the order of the command line. Says on stderr what a reader of the report should know.
std::vector<ReportInput> load_report_inputs(const cli::Output& out,
                                            const ReportOptions& options,
                                            ThreadPool& threads);

}  // namespace eplb

#endif
