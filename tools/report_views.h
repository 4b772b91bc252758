#ifndef EPLB_TOOLS_REPORT_VIEWS_H
#define EPLB_TOOLS_REPORT_VIEWS_H

#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/report/table.h"
#include "lib/report/views/views.h"
#include "tools/report_inputs.h"
#include "tools/report_options.h"

namespace eplb {

// The view asked for, or the one that suits the inputs.
View view_of(const ReportOptions& options);

Bins bins_of(const ReportOptions& options);

// UsageError where an option was given that says nothing to the view.
void check_view_options(const ReportOptions& options);

// The subject of a view of a single one. UsageError where there are several.
const Subject& only_subject(const std::vector<ReportInput>& inputs);

// Its table. UsageError where the inputs are too many or too few for it.
Table make_view(const ReportOptions& options,
                const std::vector<ReportInput>& inputs,
                ThreadPool& threads);

// What --max_imbalance is about: of held_out the average on the test; of all other views that of
// the last statistics, under the last config where there is one.
double gated_imbalance(const ReportOptions& options,
                       const std::vector<ReportInput>& inputs,
                       const Table& table,
                       ThreadPool& threads);

}  // namespace eplb

#endif
