#ifndef EPLB_REPORT_VIEWS_ITERATION_FIGURES_H
#define EPLB_REPORT_VIEWS_ITERATION_FIGURES_H

#include <span>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/route/load_summary.h"
#include "lib/report/subject.h"
#include "lib/report/views/bootstrap.h"
#include "lib/report/views/views.h"

// What the views that set one subject against another begin with.
namespace eplb {

// Model layer ids that every subject has, ascending. Error where there are none. At least one
// subject.
std::vector<int> common_layers(std::span<const Subject* const> subjects);

// Says how many layers only some subjects have; empty where none.
std::string missing_layers_note(std::span<const Subject* const> subjects);

// Of some layers of a subject, per iteration and over all.
struct IterationFigures {
    IterationSeries max_load;  // tokens on the fullest bin
    IterationSeries mean_load;
    IterationSeries imbalance_ratio;
    std::vector<LoadSummary> summaries;  // [layers]
};

// layer_ids: in that order; the subject has them.
IterationFigures iteration_figures(const Subject& subject,
                                   std::span<const int> layer_ids,
                                   Bins bins,
                                   ThreadPool& threads);

// Position of a layer that the subject has.
std::size_t position_of(const Subject& subject, int layer_id);

// "8 ranks", "64 experts", "72 slots".
std::string bins_text(const Subject& subject, Bins bins);

}  // namespace eplb

#endif
