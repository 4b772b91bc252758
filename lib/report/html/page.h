#ifndef EPLB_REPORT_HTML_PAGE_H
#define EPLB_REPORT_HTML_PAGE_H

#include <string>
#include <vector>

#include "lib/report/measured_subject.h"
#include "lib/report/table.h"

namespace eplb {

struct ReportPage {
    std::string title;                  // "Expert load"
    std::vector<std::string> headline;  // sentences for the top, each a line; may be empty
    std::vector<std::string> notes;     // what they do not say, in small letters
    std::string version;                // of the tool
    // At least one, measured over the same kind of bins. The first is what the others are compared
    // with ("before"), the last the one that is shown beside it ("after").
    std::vector<const MeasuredSubject*> subjects;
    std::vector<Table> tables;    // the first is unfolded
    bool is_table_first = false;  // the first one comes before the pictures
};

// One page of HTML (which is well-formed XML, too) that needs nothing but itself: no network, no
// script. Light and dark, for screens of any width and for paper. Summary, bars per layer and
// imbalance over iterations (the first four subjects), layers x bins of each subject, tables.
// Names are short_names(); the whole ones are in tooltips and at the end. "->" becomes an arrow.
// Same page, same bytes; all text is escaped, bytes that are no UTF-8 become U+FFFD.
std::string html_report(const ReportPage& page);

}  // namespace eplb

#endif
