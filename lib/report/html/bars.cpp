#include <algorithm>
#include <map>

#include "lib/report/html/axis.h"
#include "lib/report/html/parts.h"
#include "lib/report/text/picture_text.h"

namespace eplb::html {
namespace {

constexpr int kBarsHeight = 220;
constexpr int kMostLabels = 12;
constexpr std::size_t kMostLayerWidth = 80;  // pixels: bars of few layers are no walls
constexpr std::size_t kAroundBars = 250;     // for axis and title
constexpr double kGap = 0.25;  // of a layer's room, between its bars and the next layer's

// layer id -> [subjects], null where a subject lacks it
using Rows = std::map<int, std::vector<const MeasuredLayer*>>;

Rows rows_of(const std::vector<Drawn>& subjects, std::size_t num_bars) {
    Rows rows;
    for (std::size_t i = 0; i < num_bars; ++i)
        for (const MeasuredLayer& row : subjects[i].measured->layers) {
            std::vector<const MeasuredLayer*>& of_layer = rows[row.layer];
            of_layer.resize(num_bars, nullptr);
            of_layer[i] = &row;
        }
    return rows;
}

double largest(const Rows& rows) {
    double result = 0;
    for (const auto& [layer, of_layer] : rows)
        for (const MeasuredLayer* const row : of_layer)
            if (row != nullptr)
                result = std::max(result, row->summary.imbalance_ratio);
    return result;
}

std::string bar(const MeasuredLayer& row,
                const Drawn& drawn,
                const Axis& axis,
                double x,
                double width,
                std::size_t series) {
    const double ratio = row.summary.imbalance_ratio;
    const double top = axis.y(ratio);
    std::string text;
    append(text, "<rect x=\"", percent(x), "\" y=\"", trimmed(top, 1), "\" width=\"",
           percent(width), "\" height=\"", trimmed(kBarsHeight - top, 1), "\" class=\"s",
           std::to_string(series), "\"><title>layer ", std::to_string(row.layer), " of ",
           drawn.number, ": ", row.has_tokens() ? short_number(ratio) : "no tokens",
           "</title></rect>\n");
    return text;
}

std::string bars(const std::vector<Drawn>& subjects, const Rows& rows, const Axis& axis) {
    std::string text;
    const double room = 1.0 / static_cast<double>(rows.size());
    const std::size_t label_step = (rows.size() + kMostLabels - 1) / kMostLabels;
    std::size_t position = 0;
    for (const auto& [layer, of_layer] : rows) {
        const double width = room * (1 - kGap) / static_cast<double>(of_layer.size());
        const double left = room * (static_cast<double>(position) + kGap / 2);
        for (std::size_t i = 0; i < of_layer.size(); ++i)
            if (of_layer[i] != nullptr)
                text += bar(*of_layer[i], subjects[i], axis, left + width * static_cast<double>(i),
                            width, i);
        if (position % label_step == 0)
            append(text, "<text x=\"", percent(room * (static_cast<double>(position) + 0.5)),
                   "\" y=\"", std::to_string(kBarsHeight + 12), "\" class=\"m\">",
                   std::to_string(layer), "</text>\n");
        ++position;
    }
    return text;
}

std::string legend(const std::vector<Drawn>& subjects, std::size_t num_bars) {
    std::string text = "<ul class=\"legend\">";
    for (std::size_t i = 0; i < num_bars; ++i)
        append(text, "<li><span class=\"swatch s", std::to_string(i), "\"></span>",
               label(subjects[i]), "</li>");
    return text + "</ul>\n";
}

}  // namespace

std::string layer_bars(const std::vector<Drawn>& subjects) {
    const std::size_t num_bars = std::min<std::size_t>(subjects.size(), kMostBars);
    const Rows rows = rows_of(subjects, num_bars);
    const Axis axis(largest(rows), kBarsHeight);
    std::string text;
    append(text, "<section><h2>Imbalance ratio per layer</h2>\n<p>(max − mean) / mean over the ",
           subjects.front().measured->bin_name(),
           "s of an iteration, averaged over iterations. 0 is perfect.");
    if (num_bars < subjects.size())
        append(text, " The first ", std::to_string(num_bars), " of ",
               std::to_string(subjects.size()), ".");
    append(text, "</p>\n", legend(subjects, num_bars),
           "<figure class=\"scroll\"><div class=\"plot\" style=\"min-width:",
           std::to_string(rows.size() * (2 * num_bars + 1)),
           "px;max-width:", std::to_string(kAroundBars + kMostLayerWidth * rows.size()),
           "px\"><svg role=\"img\" width=\"100%\" height=\"", std::to_string(kBarsHeight + 40),
           "\" aria-label=\"Bars of the imbalance ratio of ", std::to_string(rows.size()),
           " layers\">\n<svg y=\"8\" width=\"100%\" height=\"", std::to_string(kBarsHeight + 32),
           "\" class=\"open\">\n", axis.grid_lines(), bars(subjects, rows, axis),
           "<text x=\"50%\" y=\"", std::to_string(kBarsHeight + 26),
           "\" class=\"m\">layer</text></svg></svg></div></figure></section>\n");
    return text;
}

}  // namespace eplb::html
