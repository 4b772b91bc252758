#ifndef EPLB_TOOLS_REPORT_VIEWS_H
#define EPLB_TOOLS_REPORT_VIEWS_H

#include <optional>
#include <string>
#include <vector>

#include "lib/report/measured_subject.h"
#include "lib/report/table.h"
#include "lib/report/timed_subject.h"
#include "tools/report_inputs.h"
#include "tools/report_options.h"

namespace eplb {

struct ViewInput {
    const ReportOptions& options;
    const std::vector<ReportInput>& inputs;
    Measurements& measurements;
    const GpuCost* gpu = nullptr;  // where a time profile is given
    int model_top_k = 0;           // 0: not known

    // Of a view of a single one: as recorded, or under the config.
    const Subject& subject() const;
    const MeasuredSubject& measured() const { return measurements.of(subject()); }
    // compared_subjects(), measured.
    std::vector<const MeasuredSubject*> all_measured() const;
    // Where gpu is known.
    TimedSubject timed(const Subject& subject) const;
    // compared_subjects(), timed; none where it is not.
    std::vector<TimedSubject> all_timed() const;
};

// What --max_imbalance is about where a view tests a placement: the average on the test.
struct TestedImbalance {
    double imbalance_ratio = 0;
    bool is_held_out = false;  // for sure
};

struct ViewResult {
    Table table;
    std::optional<TestedImbalance> tested = {};  // of held_out
    std::optional<double> time_us = {};  // of time: what --max_time is about; NaN without tokens
};

// A kind of table. A new one is a row of report_views().
struct ReportView {
    std::string name;
    std::string help;                       // its line in --help
    std::vector<std::string> options = {};  // those it heeds among those that not all views do
    bool is_of_one_subject = false;         // and not of several, side by side
    bool looks_at_ranks = false;            // of the recording, which experts must divide into
    bool tests_placement = false;           // which is fitted, where no config is given
    bool needs_profile = false;             // of a GPU
    // Says what the view takes where recordings and configs do not suit it; empty where they do.
    std::string (*refusal)(const ReportOptions& options) = nullptr;
    ViewResult (*make)(const ViewInput& input) = nullptr;
};

const std::vector<ReportView>& report_views();

// The view asked for, or the one that suits the inputs.
const ReportView& view_of(const ReportOptions& options);

Bins bins_of(const ReportOptions& options);

// UsageError where an option was given that says nothing to the view, or inputs do not suit it.
void check_view_options(const ReportOptions& options);

}  // namespace eplb

#endif
