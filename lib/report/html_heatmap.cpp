#include <algorithm>
#include <cmath>

#include "lib/report/html_parts.h"
#include "lib/report/picture_text.h"

namespace eplb::html {
namespace {

constexpr int kHeight = 800;  // of all rows, in pixels, where they have room in it
constexpr int kMostRowHeight = 18;
constexpr int kLeastRowHeight = 7;
constexpr int kLabelHeight = 11;  // rows that are lower are labelled now and then
constexpr int kMostTicks = 8;
constexpr int kLeastBinWidth = 3;
constexpr int kMostBinWidth = 70;
constexpr int kSides = 200;      // for labels
constexpr int kMostGapped = 72;  // bins that are still wide enough for gaps between them

int row_height(std::size_t num_rows) {
    return std::clamp(kHeight / static_cast<int>(num_rows), kLeastRowHeight, kMostRowHeight);
}

// every how many rows one is labelled
std::size_t label_step(int height) {
    return static_cast<std::size_t>((kLabelHeight + height - 1) / height);
}

// centred on the mean, unlike heat_level: a balanced load does not flicker between two colours
int colour_level(double relative) {
    const double level = relative / kHottest * (kHeatLevels - 1);
    return static_cast<int>(std::clamp(std::round(level), 0.0, kHeatLevels - 1.0));
}

std::string cells(const LoadGrid& grid, const GridRow& row, int y, int height) {
    std::string text;
    const std::string layer = "layer " + std::to_string(row.layer);
    const std::string top = std::to_string(y);
    const std::string tall = std::to_string(height);
    if (!row.has_tokens()) {
        append(text, "<rect y=\"", top, "\" width=\"100%\" height=\"", tall,
               "\" class=\"none\"><title>", layer, ": no tokens</title></rect>\n");
        return text;
    }
    const std::string width = percent(1.0 / grid.num_bins);
    for (int bin = 0; bin < grid.num_bins; ++bin) {
        const double relative = row.relative(bin);
        append(text, "<rect x=\"", percent(static_cast<double>(bin) / grid.num_bins), "\" y=\"",
               top, "\" width=\"", width, "\" height=\"", tall, "\" class=\"q",
               std::to_string(colour_level(relative)), "\"><title>", layer, ", ", grid.bin_name,
               " ", std::to_string(bin), ": ", tokens_text(row.load[static_cast<std::size_t>(bin)]),
               " tokens (", fixed(relative, 2), "x mean)</title></rect>\n");
    }
    return text;
}

std::string row_labels(const LoadGrid& grid, const GridRow& row, int y, int height) {
    std::string text;
    const std::string middle = std::to_string(y + height / 2);
    append(text, "<text x=\"0\" dx=\"-6\" y=\"", middle, "\" class=\"e\">",
           std::to_string(row.layer), "</text><text x=\"100%\" dx=\"38\" y=\"", middle,
           "\" class=\"e\">", row.has_tokens() ? grid.ratio_text(row.summary) : "none",
           "</text>\n");
    return text;
}

// ids of the bins below the cells
std::string ticks(const LoadGrid& grid, int y) {
    std::string text;
    const int step = std::max(1, static_cast<int>(std::ceil(axis_step(grid.num_bins, kMostTicks))));
    for (int bin = 0; bin < grid.num_bins; bin += step)
        append(text, "<text x=\"", percent((bin + 0.5) / grid.num_bins), "\" y=\"",
               std::to_string(y), "\" class=\"m\">", std::to_string(bin), "</text>");
    append(text, "<text x=\"0\" dx=\"-10\" y=\"", std::to_string(y), "\" class=\"e\">",
           grid.bin_name, "</text>\n");
    return text;
}

std::string aria_label(const Drawn& drawn) {
    const LoadGrid& grid = drawn.grid;
    std::string text = "Heatmap of " + drawn.subject->name + ": " +
                       std::to_string(grid.rows.size()) + " layers by " +
                       std::to_string(grid.num_bins) + " " + grid.bin_name +
                       "s, average imbalance ratio " + short_number(grid.average.imbalance_ratio);
    if (const GridRow* const worst = grid.worst())
        text += ", worst in layer " + std::to_string(worst->layer) + " with " +
                short_number(worst->summary.imbalance_ratio);
    return escape(text);
}

std::string heatmap(const Drawn& drawn) {
    const LoadGrid& grid = drawn.grid;
    const int height = row_height(grid.rows.size());
    const int bottom = height * static_cast<int>(grid.rows.size());
    std::string text;
    append(text, "<figure class=\"panel\"><figcaption><b class=\"number\">", drawn.number, "</b> ",
           escape(drawn.subject->name), "</figcaption>\n<div class=\"scroll\"><div class=\"plot ",
           grid.num_bins <= kMostGapped ? "gaps" : "dense",
           "\" style=\"min-width:", std::to_string(kLeastBinWidth * grid.num_bins),
           "px;max-width:", std::to_string(kSides + kMostBinWidth * grid.num_bins),
           "px\"><svg role=\"img\" width=\"100%\" height=\"", std::to_string(bottom + 36),
           "\" aria-label=\"", aria_label(drawn), "\">\n",
           "<text x=\"0\" dx=\"-6\" y=\"8\" class=\"e\">layer</text>"
           "<text x=\"100%\" dx=\"38\" y=\"8\" class=\"e\">ratio</text>\n"
           "<svg y=\"16\" width=\"100%\" height=\"",
           std::to_string(bottom + 20), "\" class=\"open\">\n");
    for (std::size_t i = 0; i < grid.rows.size(); ++i) {
        const int y = height * static_cast<int>(i);
        text += cells(grid, grid.rows[i], y, height);
        if (i % label_step(height) == 0)
            text += row_labels(grid, grid.rows[i], y, height);
    }
    append(text, ticks(grid, bottom + 12), "</svg></svg></div></div></figure>\n");
    return text;
}

std::string scale() {
    constexpr int kWidth = 14;  // of a level
    std::string text =
        "<svg class=\"scale\" role=\"img\" width=\"270\" height=\"30\" "
        "aria-label=\"Scale: blue is below the mean, orange above\">";
    for (int level = 0; level < kHeatLevels; ++level)
        append(text, "<rect x=\"", std::to_string(6 + kWidth * level), "\" width=\"",
               std::to_string(kWidth), "\" height=\"12\" class=\"q", std::to_string(level), "\"/>");
    const std::vector<std::string> labels = {"0", "0.5x", "mean", "1.5x", "2x+"};
    for (std::size_t i = 0; i < labels.size(); ++i)
        append(text, "<text x=\"",
               std::to_string(6 + kWidth / 2 + 4 * kWidth * static_cast<int>(i)),
               "\" y=\"22\" class=\"m\">", labels[i], "</text>");
    return text + "</svg>";
}

}  // namespace

std::string heatmaps(const std::vector<Drawn>& subjects) {
    const std::string bin = subjects.front().grid.bin_name;
    std::string text;
    append(text, "<section><h2>Load of each ", bin, "</h2>\n<p>A cell is the tokens of one ", bin,
           " over all iterations, divided by their mean over the layer. Right of it: the layer's "
           "imbalance ratio.</p>\n",
           scale(), "\n<div class=\"panels\">\n");
    for (const Drawn& drawn : subjects)
        text += heatmap(drawn);
    return text + "</div></section>\n";
}

}  // namespace eplb::html
