#include "lib/report/html/page.h"

#include <cassert>

#include "lib/report/html/parts.h"
#include "lib/report/text/short_names.h"

namespace eplb {
namespace {

// Where the pictures say little, a sentence says why.
std::string remarks(const std::vector<html::Drawn>& subjects) {
    std::string text;
    for (const html::Drawn& drawn : subjects) {
        if (drawn.measured->num_bins() == 1)
            html::append(text, "<p class=\"empty\">", drawn.number, ": one ",
                         drawn.measured->bin_name(), ", there is nothing to balance.</p>\n");
        std::size_t num_empty = 0;
        for (const MeasuredLayer& row : drawn.measured->layers)
            num_empty += row.has_tokens() ? 0 : 1;
        if (num_empty > 0)
            html::append(text, "<p class=\"empty\">", drawn.number, ": ", std::to_string(num_empty),
                         " of ", std::to_string(drawn.measured->layers.size()),
                         " layers had no tokens; averages leave them out.</p>\n");
    }
    return text;
}

}  // namespace

std::string html_report(const ReportPage& page) {
    assert(!page.subjects.empty());
    std::vector<std::string> names;
    for (const MeasuredSubject* const measured : page.subjects)
        names.push_back(measured->subject->name);
    names = short_names(names);
    std::vector<html::Drawn> subjects;
    for (std::size_t i = 0; i < page.subjects.size(); ++i)
        subjects.push_back({page.subjects[i], std::to_string(i + 1), names[i]});
    std::string text;
    html::append(text,
                 "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n"
                 "<head><meta charset=\"utf-8\"/>"
                 "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>"
                 "<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>",
                 html::escape(page.title), "</title>\n<style>\n", html::style_sheet(),
                 "</style></head>\n<body><main>\n", html::header(page, subjects),
                 html::summary_cards(subjects), remarks(subjects),
                 page.is_table_first ? html::first_table(page) : "", html::layer_bars(subjects),
                 html::heatmaps(subjects), html::time_lines(subjects),
                 html::tables(page.tables, page.is_table_first), "<footer class=\"small\">",
                 html::whole_names(subjects), "<p>eplb-report ", html::escape(page.version),
                 ". Ranges of iterations are half open: 0-8 is 0 to 7.</p></footer>\n"
                 "</main></body></html>\n");
    return text;
}

}  // namespace eplb
