#include <algorithm>
#include <cmath>
#include <optional>

#include "lib/report/html/parts.h"
#include "lib/report/text/picture_text.h"
#include "lib/report/views/heat.h"

namespace eplb::html {
namespace {

constexpr int kRowsHeight = 800;  // of all rows, in pixels, where they have room in it
constexpr int kMostRowHeight = 18;
constexpr int kLeastRowHeight = 7;
constexpr int kLabelHeight = 11;  // rows that are lower are labelled now and then
constexpr int kMostBinTicks = 8;
constexpr int kLeastBinWidth = 3;
constexpr int kMostBinWidth = 70;
constexpr int kAroundRows = 200;  // for labels
constexpr int kMostGapped = 72;   // bins that are still wide enough for gaps between them

int row_height(std::size_t num_rows) {
    return std::clamp(kRowsHeight / static_cast<int>(num_rows), kLeastRowHeight, kMostRowHeight);
}

// every how many rows one is labelled
std::size_t label_step(int height) {
    return static_cast<std::size_t>((kLabelHeight + height - 1) / height);
}

// Of colours: from 1 - reach to 1 + reach times the mean.
struct Scale {
    double reach = kHottest / 2;
    char name = 'q';  // of the classes
};

// Centred on the mean, unlike heat_level: a balanced load does not flicker between two colours.
std::string colour_class(double relative, const Scale& scale) {
    const double level = (1 + (relative - 1) / scale.reach) / 2 * (kHeatLevels - 1);
    const auto clamped = static_cast<int>(std::clamp(std::round(level), 0.0, kHeatLevels - 1.0));
    return scale.name + std::to_string(clamped);
}

// How far a cell is from the mean, at most; of all subjects but the first.
double largest_distance(const std::vector<Drawn>& subjects) {
    double largest = 0;
    for (std::size_t i = 1; i < subjects.size(); ++i)
        for (const MeasuredLayer& row : subjects[i].measured->layers)
            for (int bin = 0; row.has_tokens() && bin < subjects[i].measured->num_bins(); ++bin)
                largest = std::max(largest, std::abs(row.relative(bin) - 1));
    return largest;
}

// Beside a bad first subject good ones are all one colour: a finer scale shows what is left in
// them. Nothing where there is nothing to show, or so much that the whole scale does.
std::optional<Scale> fine_scale(const std::vector<Drawn>& subjects) {
    constexpr double kRounding = 1e-9;
    const double largest = largest_distance(subjects);
    if (largest <= kRounding)
        return {};
    for (const double reach : {0.05, 0.1, 0.2})
        if (largest <= reach + kRounding)
            return Scale{reach, 'f'};
    return {};
}

std::string cells(const MeasuredSubject& measured,
                  const MeasuredLayer& row,
                  const Scale& scale,
                  int y,
                  int height) {
    std::string text;
    const std::string layer = "layer " + std::to_string(row.layer);
    const std::string top = std::to_string(y);
    const std::string tall = std::to_string(height);
    if (!row.has_tokens()) {
        append(text, "<rect y=\"", top, "\" width=\"100%\" height=\"", tall,
               "\" class=\"none\"><title>", layer, ": no tokens</title></rect>\n");
        return text;
    }
    const int num_bins = measured.num_bins();
    const std::string bin_name = measured.bin_name();
    const std::string width = percent(1.0 / num_bins);
    for (int bin = 0; bin < num_bins; ++bin) {
        const double relative = row.relative(bin);
        append(text, "<rect x=\"", percent(1.0 * bin / num_bins), "\" y=\"", top, "\" width=\"",
               width, "\" height=\"", tall, "\" class=\"", colour_class(relative, scale),
               "\"><title>", layer, ", ", bin_name, " ", std::to_string(bin), ": ",
               tokens_text(row.totals[bin]), " tokens (", fixed(relative, 2),
               "x mean)</title></rect>\n");
    }
    return text;
}

std::string row_labels(const MeasuredSubject& measured,
                       const MeasuredLayer& row,
                       int y,
                       int height) {
    std::string text;
    const std::string middle = std::to_string(y + height / 2);
    append(text, "<text x=\"0\" dx=\"-6\" y=\"", middle, "\" class=\"e\">",
           std::to_string(row.layer), "</text><text x=\"100%\" dx=\"38\" y=\"", middle,
           "\" class=\"e\">", row.has_tokens() ? ratio_text(measured, row.summary) : "none",
           "</text>\n");
    return text;
}

// ids of the bins below the cells
std::string ticks(const MeasuredSubject& measured, int y) {
    std::string text;
    const int step =
        std::max(1, static_cast<int>(std::ceil(axis_step(measured.num_bins(), kMostBinTicks))));
    for (int bin = 0; bin < measured.num_bins(); bin += step)
        append(text, "<text x=\"", percent((bin + 0.5) / measured.num_bins()), "\" y=\"",
               std::to_string(y), "\" class=\"m\">", std::to_string(bin), "</text>");
    append(text, "<text x=\"0\" dx=\"-10\" y=\"", std::to_string(y), "\" class=\"e\">",
           measured.bin_name(), "</text>\n");
    return text;
}

std::string aria_label(const Drawn& drawn) {
    const MeasuredSubject& measured = *drawn.measured;
    std::string text =
        "Heatmap of " + drawn.subject().name + ": " + std::to_string(measured.layers.size()) +
        " layers by " + std::to_string(measured.num_bins()) + " " + measured.bin_name() +
        "s, average imbalance ratio " + short_number(measured.average.imbalance_ratio);
    if (const MeasuredLayer* const worst = measured.worst())
        text += ", worst in layer " + std::to_string(worst->layer) + " with " +
                short_number(worst->summary.imbalance_ratio);
    return escape(text);
}

std::string legend(const Scale& scale) {
    constexpr int kWidth = 21;  // of a level
    constexpr int kSide = 4;
    constexpr int kEnd = kSide + kWidth * kHeatLevels;
    const bool is_whole = scale.name == 'q';
    std::string text;
    append(
        text, "<svg class=\"scale\" role=\"img\" width=\"", std::to_string(kEnd + kSide),
        "\" height=\"36\" aria-label=\"Scale: ",
        is_whole ? "blue is below the mean, orange above" : "teal is below the mean, purple above",
        "\">");
    for (int level = 0; level < kHeatLevels; ++level)
        append(text, "<rect x=\"", std::to_string(kSide + kWidth * level), "\" width=\"",
               std::to_string(kWidth), "\" height=\"18\" class=\"", std::string(1, scale.name),
               std::to_string(level), "\"/>");
    struct Label {
        int x;
        const char* anchor;
        std::string text;
    };
    const auto middle = [](int level) { return kSide + kWidth / 2 + kWidth * level; };
    const auto times = [&](double part) { return trimmed(1 + part * scale.reach, 3) + "x"; };
    constexpr int kQuarter = (kHeatLevels - 1) / 4;
    const std::vector<Label> labels = {
        {kSide, "b", is_whole ? "0" : times(-1)},
        {middle(kQuarter), "m", times(-0.5)},
        {middle(2 * kQuarter), "m", "mean"},
        {middle(3 * kQuarter), "m", times(0.5)},
        {kEnd, "e", is_whole ? "2x and more" : times(1)},
    };
    for (const Label& label : labels)
        append(text, "<text x=\"", std::to_string(label.x), "\" y=\"28\" class=\"", label.anchor,
               "\">", label.text, "</text>");
    return text + "</svg>\n";
}

// has_legend: where the subjects have different scales, each has its own above it.
std::string heatmap(const Drawn& drawn, const Scale& scale, bool has_legend) {
    const MeasuredSubject& measured = *drawn.measured;
    const int height = row_height(measured.layers.size());
    const int bottom = height * static_cast<int>(measured.layers.size());
    std::string text;
    append(text, "<figure class=\"panel\"><figcaption>", label(drawn), "</figcaption>\n",
           has_legend ? legend(scale) : "", "<div class=\"scroll\"><div class=\"plot ",
           measured.num_bins() <= kMostGapped ? "gaps" : "dense",
           "\" style=\"min-width:", std::to_string(kLeastBinWidth * measured.num_bins()),
           "px;max-width:", std::to_string(kAroundRows + kMostBinWidth * measured.num_bins()),
           "px\"><svg role=\"img\" width=\"100%\" height=\"", std::to_string(bottom + 36),
           "\" aria-label=\"", aria_label(drawn), "\">\n",
           "<text x=\"0\" dx=\"-6\" y=\"8\" class=\"e\">layer</text>"
           "<text x=\"100%\" dx=\"38\" y=\"8\" class=\"e\">ratio</text>\n"
           "<svg y=\"16\" width=\"100%\" height=\"",
           std::to_string(bottom + 20), "\" class=\"open\">\n");
    for (std::size_t i = 0; i < measured.layers.size(); ++i) {
        const int y = height * static_cast<int>(i);
        text += cells(measured, measured.layers[i], scale, y, height);
        if (i % label_step(height) == 0)
            text += row_labels(measured, measured.layers[i], y, height);
    }
    append(text, ticks(measured, bottom + 12), "</svg></svg></div></div></figure>\n");
    return text;
}

}  // namespace

std::string heatmaps(const std::vector<Drawn>& subjects) {
    const std::string bin = subjects.front().measured->bin_name();
    const std::optional<Scale> fine = fine_scale(subjects);
    std::string text;
    append(text, "<section><h2>Load of each ", bin, "</h2>\n<p>A cell is the tokens of one ", bin,
           " over all iterations, divided by their mean over the layer. Right of it: the layer's "
           "imbalance ratio.</p>\n");
    if (fine)
        append(text, "<p>", subjects.size() == 2 ? "2 is" : "All but 1 are",
               " so even that a finer scale, in colours of its own, shows what is left: it ends ",
               trimmed(100 * fine->reach, 0), " % off the mean.</p>\n");
    else
        text += legend(Scale{});
    text += "<div class=\"panels\">\n";
    for (const Drawn& drawn : subjects)
        text +=
            heatmap(drawn, fine && &drawn != &subjects.front() ? *fine : Scale{}, fine.has_value());
    return text + "</div></section>\n";
}

}  // namespace eplb::html
