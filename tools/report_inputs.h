#ifndef EPLB_TOOLS_REPORT_INPUTS_H
#define EPLB_TOOLS_REPORT_INPUTS_H

#include <optional>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/report/subject.h"
#include "lib/report/views/comparison_figures.h"
#include "tools/output.h"
#include "tools/report_options.h"

namespace eplb {

// What one statistics source holds: the recorded load, and what each config makes of it.
struct ReportInput {
    std::string path;
    ExpertStatistics statistics;  // summed over source ranks, but for a placement that is fitted
    std::optional<RoutedIds> routed;  // of all layers; where another batch is drawn and it has some
    // What ran: experts (or slots) in order on --ep_size ranks where these divide them, else on the
    // recording's, else unbalanced_subject(); with --load_balancer its slots.
    Subject recorded;
    std::optional<EplbConfig> in_force;  // where slot ids became experts
    std::vector<Subject> projected;      // [configs]
};

// In the order of the command line. Says on stderr what a reader of the report should know.
std::vector<ReportInput> load_report_inputs(const cli::Output& out,
                                            const ReportOptions& options,
                                            ThreadPool& threads);

// What is compared and drawn: one recording and then it under each config; several as they are, or
// under the config.
std::vector<const Subject*> compared_subjects(const std::vector<ReportInput>& inputs);
Pairing pairing_of(const std::vector<ReportInput>& inputs);

}  // namespace eplb

#endif
