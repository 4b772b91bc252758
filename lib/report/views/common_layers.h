#ifndef EPLB_REPORT_VIEWS_COMMON_LAYERS_H
#define EPLB_REPORT_VIEWS_COMMON_LAYERS_H

#include <span>
#include <string>
#include <vector>

#include "lib/report/measured_subject.h"
#include "lib/report/subject.h"
#include "lib/report/views/bootstrap.h"

// What the views that set one subject against another begin with.
namespace eplb {

std::vector<const Subject*> subjects_of(std::span<const MeasuredSubject* const> measured);

// Model layer ids that every subject has, ascending. Error where there are none. At least one
// subject.
std::vector<int> common_layers(std::span<const Subject* const> subjects);

// Says how many layers only some subjects have; empty where none.
std::string missing_layers_note(std::span<const Subject* const> subjects);

// A figure of some layers that the subject has, in the order of layer_ids, per iteration.
IterationSeries series_of(const MeasuredSubject& subject,
                          std::span<const int> layer_ids,
                          double (*figure)(const MeasuredLayer& layer, int iteration));
IterationSeries imbalance_series(const MeasuredSubject& subject, std::span<const int> layer_ids);

}  // namespace eplb

#endif
