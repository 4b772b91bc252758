#ifndef EPLB_REPORT_HTML_PARTS_H
#define EPLB_REPORT_HTML_PARTS_H

#include <string>
#include <vector>

#include "lib/report/html/page.h"
#include "lib/report/measured_subject.h"

// The parts of html_report's page.
//
// Pictures are SVG without a viewBox: x in percent of the width, y and text in pixels. So they fill
// any width and their letters keep their size.
namespace eplb::html {

// A subject with its picture and its number, as tables count them: "1" is the first.
struct Drawn {
    const MeasuredSubject* measured = nullptr;
    std::string number;
    std::string short_name;

    const Subject& subject() const { return *measured->subject; }
};

// Text for content and attributes. What XML forbids, and bytes that are no UTF-8, become U+FFFD.
std::string escape(const std::string& text);

// The same of a sentence: " -> " becomes an arrow.
std::string prose(const std::string& text);

// The number in its box, and the short name, with the whole one as a tooltip.
std::string label(const Drawn& drawn);

// A part of 1 in percent, for x and width: "2.778%".
std::string percent(double part);

// Appends all the parts.
template <typename... Parts>
void append(std::string& text, const Parts&... parts) {
    (text.append(parts), ...);
}

std::string style_sheet();

std::string header(const ReportPage& page, const std::vector<Drawn>& subjects);
std::string summary_cards(const std::vector<Drawn>& subjects);
std::string layer_bars(const std::vector<Drawn>& subjects);
std::string heatmaps(const std::vector<Drawn>& subjects);
std::string time_lines(const std::vector<Drawn>& subjects);
// The first table, unfolded, in a section of its own.
std::string first_table(const ReportPage& page);
// All tables; or, where the first stands elsewhere, the others.
std::string tables(const std::vector<Table>& tables, bool is_first_elsewhere);
// What the short names stand for.
std::string whole_names(const std::vector<Drawn>& subjects);

// Colours of heatmaps, which are classes of the style sheet: q0 (no load) to q16 (kHottest times
// the mean and more), in the middle the mean, give or take 1 / 16; f0 to f16 are those of a finer
// scale around the mean.
constexpr int kHeatLevels = 17;

// Colours of bars and lines, the classes s0 to s4: so many subjects have bars, and lines over
// iterations, and so many layers have a line.
constexpr int kMostBars = 4;
constexpr int kMostLines = 5;

}  // namespace eplb::html

#endif
