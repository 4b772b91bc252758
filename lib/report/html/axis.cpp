#include "lib/report/html/axis.h"

#include <algorithm>
#include <cmath>

#include "lib/report/html/parts.h"
#include "lib/report/text/picture_text.h"

namespace eplb::html {
namespace {

constexpr int kMostSteps = 5;
constexpr int kMostDecimals = 6;

}  // namespace

Axis::Axis(double largest, int height)
    : height_(height),
      step_(axis_step(largest, kMostSteps)),
      num_steps_(std::max(1, static_cast<int>(std::ceil(largest / step_ - 1e-9)))) {}

double Axis::y(double value) const {
    return height_ * (1 - value / (step_ * num_steps_));
}

std::string Axis::grid_lines() const {
    std::string text;
    for (int i = 0; i <= num_steps_; ++i) {
        const std::string at = trimmed(y(step_ * i), 1);
        append(text, "<line x1=\"0\" x2=\"100%\" y1=\"", at, "\" y2=\"", at, "\" class=\"",
               i == 0 ? "base" : "grid", "\"/><text x=\"0\" dx=\"-6\" y=\"", at, "\" class=\"e\">",
               trimmed(step_ * i, kMostDecimals), "</text>\n");
    }
    return text;
}

}  // namespace eplb::html
