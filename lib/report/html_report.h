#ifndef EPLB_REPORT_HTML_REPORT_H
#define EPLB_REPORT_HTML_REPORT_H

#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/report/subject.h"
#include "lib/report/table.h"
#include "lib/report/views.h"

namespace eplb {

struct ReportPage {
    std::string title;    // "Expert load"
    std::string verdict;  // a sentence for the top; may be empty
    std::string version;  // of the tool
    Bins bins = Bins::ranks;
    // At least one. The first is what the others are compared with ("before"), the last the one
    // that is shown beside it ("after").
    std::vector<const Subject*> subjects;
    std::vector<Table> tables;
};

// One page of HTML (which is well-formed XML, too) that needs nothing but itself: no network, no
// script. Light and dark, for screens of any width and for paper. Summary, bars per layer (the
// first four subjects), layers x bins of each subject, imbalance over iterations (first and last
// subject), tables. Same page, same bytes; all text is escaped, bytes that are no UTF-8 become
// U+FFFD.
std::string html_report(const ReportPage& page, ThreadPool& threads);

}  // namespace eplb

#endif
