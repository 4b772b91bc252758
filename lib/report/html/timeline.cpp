#include <algorithm>
#include <cmath>

#include "lib/base/not_known.h"
#include "lib/report/html/axis.h"
#include "lib/report/html/parts.h"
#include "lib/report/text/picture_text.h"

namespace eplb::html {
namespace {

constexpr int kLinesHeight = 200;
constexpr int kBoxWidth = 1000;   // of the box in which lines are drawn, stretched to the width
constexpr int kMostPoints = 500;  // per line
constexpr double kLabelDistance = 14;
constexpr int kMostTimeTicks = 6;

// A layer's imbalance ratios, thinned out.
struct Line {
    const MeasuredLayer* row = nullptr;
    std::vector<double> points;  // NaN: no tokens
};

// The layers with the highest imbalance ratio, worst first, lowest id on ties.
std::vector<int> worst_layers(const MeasuredSubject& measured) {
    std::vector<const MeasuredLayer*> rows;
    for (const MeasuredLayer& row : measured.layers)
        if (row.has_tokens())
            rows.push_back(&row);
    std::stable_sort(rows.begin(), rows.end(), [](const MeasuredLayer* a, const MeasuredLayer* b) {
        return a->summary.imbalance_ratio > b->summary.imbalance_ratio;
    });
    std::vector<int> layers;
    for (std::size_t i = 0; i < std::min<std::size_t>(rows.size(), kMostLines); ++i)
        layers.push_back(rows[i]->layer);
    return layers;
}

int iterations_per_point(const Subject& subject) {
    return (subject.num_iterations + kMostPoints - 1) / kMostPoints;
}

// Means of neighbouring iterations that have tokens.
std::vector<double> thinned(const MeasuredLayer& layer, int per_point) {
    std::vector<double> points;
    const int num_iterations = static_cast<int>(layer.max_load.size());
    for (int first = 0; first < num_iterations; first += per_point) {
        double sum = 0;
        int count = 0;
        for (int i = first; i < std::min(num_iterations, first + per_point); ++i)
            if (const double ratio = layer.imbalance_ratio(i); !std::isnan(ratio)) {
                sum += ratio;
                ++count;
            }
        points.push_back(count > 0 ? sum / count : kNotKnown);
    }
    return points;
}

std::vector<Line> lines_of(const Drawn& drawn, const std::vector<int>& layers) {
    std::vector<Line> lines;
    for (const int layer : layers) {
        Line line;
        for (const MeasuredLayer& row : drawn.measured->layers)
            if (row.layer == layer && row.has_tokens()) {
                line.row = &row;
                line.points = thinned(row, iterations_per_point(drawn.subject()));
            }
        lines.push_back(std::move(line));
    }
    return lines;
}

double largest(const std::vector<Line>& lines) {
    double result = 0;
    for (const Line& line : lines)
        for (const double point : line.points)
            if (!std::isnan(point))
                result = std::max(result, point);
    return result;
}

// Broken where there are no tokens; a point alone is a dot.
std::string path(const Line& line, const Axis& axis, std::size_t series) {
    std::string steps;
    bool is_drawing = false;
    const double distance = static_cast<double>(kBoxWidth) /
                            static_cast<double>(std::max<std::size_t>(line.points.size() - 1, 1));
    for (std::size_t i = 0; i < line.points.size(); ++i) {
        const bool has_point = !std::isnan(line.points[i]);
        if (has_point)
            append(steps, is_drawing ? "L" : "M", trimmed(distance * static_cast<double>(i), 1),
                   " ", trimmed(axis.y(line.points[i]), 1), is_drawing ? "" : "h0");
        is_drawing = has_point;
    }
    std::string text;
    append(text, "<path d=\"", steps, "\" class=\"line s", std::to_string(series),
           "\"><title>layer ", std::to_string(line.row->layer), ": ",
           short_number(line.row->summary.imbalance_ratio), " on average</title></path>\n");
    return text;
}

// Where a line's name stands, and the line's end.
struct Label {
    std::size_t series = 0;
    double end = 0;
    double y = 0;
};

// Pushed apart downwards, then up again from the bottom.
std::vector<Label> labels_of(const std::vector<Line>& lines, const Axis& axis) {
    std::vector<Label> labels;
    for (std::size_t i = 0; i < lines.size(); ++i)
        for (auto point = lines[i].points.rbegin(); point != lines[i].points.rend(); ++point)
            if (!std::isnan(*point)) {
                labels.push_back({i, axis.y(*point), axis.y(*point)});
                break;
            }
    std::stable_sort(labels.begin(), labels.end(),
                     [](const Label& a, const Label& b) { return a.end < b.end; });
    for (std::size_t i = 1; i < labels.size(); ++i)
        labels[i].y = std::max(labels[i].y, labels[i - 1].y + kLabelDistance);
    double lowest = kLinesHeight;
    for (auto label = labels.rbegin(); label != labels.rend(); ++label) {
        label->y = std::min(label->y, lowest);
        lowest = label->y - kLabelDistance;
    }
    return labels;
}

std::string direct_labels(const std::vector<Line>& lines, const Axis& axis) {
    std::string text = "<svg x=\"100%\" width=\"1\" height=\"1\" class=\"open\">";
    for (const Label& label : labels_of(lines, axis)) {
        const std::string series = std::to_string(label.series);
        const std::string y = trimmed(label.y, 1);
        append(text, "<path d=\"M1 ", trimmed(label.end, 1), "L14 ", y, "\" class=\"lead line s",
               series, "\"/><text x=\"18\" y=\"", y, "\" class=\"b s", series, "\">layer ",
               std::to_string(lines[label.series].row->layer), "</text>");
    }
    return text + "</svg>\n";
}

std::string ticks(const Subject& subject) {
    std::string text;
    const int last = subject.num_iterations - 1;
    const int step = std::max(1, static_cast<int>(std::ceil(axis_step(last, kMostTimeTicks))));
    for (int i = 0; i <= last; i += step) {
        const std::string x = percent(static_cast<double>(i) / last);
        append(text, "<line x1=\"", x, "\" x2=\"", x, "\" y1=\"", std::to_string(kLinesHeight),
               "\" y2=\"", std::to_string(kLinesHeight + 4), "\" class=\"base\"/><text x=\"", x,
               "\" y=\"", std::to_string(kLinesHeight + 14), "\" class=\"m\">",
               std::to_string(subject.iter_start + i), "</text>\n");
    }
    append(text, "<text x=\"50%\" y=\"", std::to_string(kLinesHeight + 29),
           "\" class=\"m\">iteration</text>\n");
    return text;
}

std::string panel(const Drawn& drawn, const std::vector<Line>& lines, const Axis& axis) {
    const Subject& subject = drawn.subject();
    std::string text;
    append(text, "<figure class=\"panel\"><figcaption>", label(drawn), "</figcaption>\n");
    if (subject.num_iterations < 2)
        return text + "<p class=\"empty\">One iteration: there is no line to draw.</p></figure>\n";
    append(text, "<div class=\"plot named\"><svg role=\"img\" width=\"100%\" height=\"",
           std::to_string(kLinesHeight + 44),
           "\" aria-label=\"Imbalance ratio of the worst layers over iterations ",
           std::to_string(subject.iter_start), " to ", std::to_string(subject.iter_stop() - 1),
           "\">\n<svg y=\"8\" width=\"100%\" height=\"", std::to_string(kLinesHeight + 36),
           "\" class=\"open\">\n", axis.grid_lines(), ticks(subject),
           "<svg width=\"100%\" height=\"", std::to_string(kLinesHeight), "\" viewBox=\"0 0 ",
           std::to_string(kBoxWidth), " ", std::to_string(kLinesHeight),
           "\" preserveAspectRatio=\"none\" class=\"open\">\n");
    for (std::size_t i = 0; i < lines.size(); ++i)
        if (lines[i].row != nullptr)
            text += path(lines[i], axis, i);
    append(text, "</svg>\n", direct_labels(lines, axis), "</svg></svg></div>\n");
    if (iterations_per_point(subject) > 1)
        append(text, "<p class=\"small\">A point is the mean of ",
               std::to_string(iterations_per_point(subject)), " iterations.</p>\n");
    return text + "</figure>\n";
}

}  // namespace

std::string time_lines(const std::vector<Drawn>& subjects) {
    const std::vector<int> layers = worst_layers(*subjects.front().measured);
    const std::size_t num_drawn = std::min<std::size_t>(subjects.size(), kMostBars);
    double most = 0;
    std::string others;
    for (std::size_t i = 0; i < num_drawn; ++i) {
        most = std::max(most, largest(lines_of(subjects[i], layers)));
        if (i > 0)
            others += (others.empty() ? " The same in " : ", ") + subjects[i].number;
    }
    const Axis axis(most, kLinesHeight);
    std::string text;
    append(text, "<section><h2>Imbalance ratio over iterations</h2>\n<p>",
           layers.size() == 1 ? "The layer" : "The layers", " with the highest ratio in ",
           subjects.front().number, ": ", layers.empty() ? "none" : joined(layers, ", "), ".",
           others.empty() ? "" : others + ".",
           num_drawn < subjects.size()
               ? " Those after " + subjects[num_drawn - 1].number + " are left out."
               : "",
           " 0 is perfect.</p>\n<div class=\"panels\">\n");
    for (std::size_t i = 0; i < num_drawn; ++i)
        text += panel(subjects[i], lines_of(subjects[i], layers), axis);
    return text + "</div></section>\n";
}

}  // namespace eplb::html
