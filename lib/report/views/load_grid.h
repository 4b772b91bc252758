#ifndef EPLB_REPORT_VIEWS_LOAD_GRID_H
#define EPLB_REPORT_VIEWS_LOAD_GRID_H

#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/route/load_summary.h"
#include "lib/report/subject.h"
#include "lib/report/views/views.h"

namespace eplb {

// One layer of a picture.
struct GridRow {
    int layer = 0;             // model layer id
    std::vector<double> load;  // [num_bins]: tokens over all iterations
    double mean = 0;           // of load; 0: a layer without tokens
    LoadSummary summary;
    std::vector<double> imbalance_ratios;  // [num_iterations], NaN where there are no tokens

    bool has_tokens() const { return mean > 0; }
    // load / mean, best 1; 0 in a layer without tokens.
    double relative(int bin) const;
};

// What pictures draw of a subject: layers x bins.
struct LoadGrid {
    std::string bin_name;  // "rank", "slot" or "expert"
    int num_bins = 0;
    std::vector<GridRow> rows;  // ascending layers
    LoadSummary average;        // over the rows that have tokens

    // The row with the highest imbalance ratio (lowest layer on ties); null where none has tokens.
    const GridRow* worst() const;
    // The imbalance ratio of a row, or of the average, with as many decimals as all of them have: 3
    // where they are below 1, else 2. "no tokens" where there are none.
    std::string ratio_text(const LoadSummary& summary) const;
};

LoadGrid load_grid(const Subject& subject, Bins bins, ThreadPool& threads);

// Relative loads from here on look alike in pictures.
constexpr double kHottest = 2;

// In which of `num_levels` equal parts of [0, kHottest] a relative load lies, from 0; the last
// takes all that is above.
int heat_level(double relative, int num_levels);

}  // namespace eplb

#endif
