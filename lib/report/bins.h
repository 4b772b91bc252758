#ifndef EPLB_REPORT_BINS_H
#define EPLB_REPORT_BINS_H

#include <string>

#include "lib/report/subject.h"

namespace eplb {

// What is compared in a layer.
enum class Bins {
    ranks,
    slots,  // experts, where there is no config
};

// "rank", "slot" or "expert": what one bin is.
std::string bin_name(const Subject& subject, Bins bins);

int num_bins(const Subject& subject, Bins bins);

// "8 ranks", "64 experts", "72 slots".
std::string bins_text(const Subject& subject, Bins bins);

// [num_iterations][bins] of one layer, a position from 0.
LayerLoad bins_of(const Subject& subject, int layer, Bins bins);

}  // namespace eplb

#endif
