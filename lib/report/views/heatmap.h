#ifndef EPLB_REPORT_VIEWS_HEATMAP_H
#define EPLB_REPORT_VIEWS_HEATMAP_H

#include <string>

#include "lib/report/measured_subject.h"

namespace eplb {

// What the terminal can show.
struct HeatmapStyle {
    int width = 80;        // characters; at least 40 are used
    bool unicode = false;  // blocks of eight heights; else ten ASCII characters
    bool colour = false;   // escape sequences of 256 colours
};

// Layers x bins in characters: a row per layer, with its id to the left and its imbalance ratio
// (that of layer_table) to the right. A cell is the bin's tokens over all iterations / their mean
// over the layer, clipped at 2; where there are more bins than room, the most loaded of some
// neighbours. The legend says so. Layers without tokens are blank and named.
std::string draw_heatmap(const MeasuredSubject& subject, const HeatmapStyle& style);

}  // namespace eplb

#endif
