#ifndef EPLB_REPORT_HEADLINE_H
#define EPLB_REPORT_HEADLINE_H

#include <string>

#include "lib/report/table.h"

namespace eplb {

// A note of a table for the top of a page: fractions have three digits that count, as those in the
// pictures (short_number) have. "1.515" may be 1.5149 or 1.5151: then the table tells which.
std::string headline(const std::string& note, const Table& table);

}  // namespace eplb

#endif
