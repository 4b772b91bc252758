#ifndef EPLB_REPORT_HTML_AXIS_H
#define EPLB_REPORT_HTML_AXIS_H

#include <string>

namespace eplb::html {

// The vertical axis of a picture, from 0 at the bottom to a round number at the top.
class Axis {
  public:
    // height in pixels; holds values up to `largest`.
    Axis(double largest, int height);

    double y(double value) const;  // pixels from the top
    // Lines over the whole width, each with its number to the left.
    std::string grid_lines() const;

  private:
    int height_;
    double step_;
    int num_steps_;
};

}  // namespace eplb::html

#endif
