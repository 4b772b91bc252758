#ifndef EPLB_REPORT_TEXT_SHORT_NAMES_H
#define EPLB_REPORT_TEXT_SHORT_NAMES_H

#include <string>
#include <vector>

namespace eplb {

// Names of subjects for where there is little room: of each path ("a/b/stats under c/eplb.yaml" has
// two) the last component, or as many as it takes to tell all the names apart. Names that are the
// same in full stay the same.
std::vector<std::string> short_names(const std::vector<std::string>& names);

}  // namespace eplb

#endif
