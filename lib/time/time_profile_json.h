#ifndef EPLB_TIME_TIME_PROFILE_JSON_H
#define EPLB_TIME_TIME_PROFILE_JSON_H

#include <string>
#include <string_view>

#include "lib/time/time_profile.h"

// The file of --time_profile; data/time_profile.schema.json describes it, docs/time.md has an
// example.
namespace eplb {

// name: of the file, which starts errors. Error: no strict JSON, a member that is not known,
// missing or of another type, a number that no GPU comes near (time_profile.h).
TimeProfile parse_time_profile(std::string_view text, const std::string& name);

// Numbers are rounded to six digits, fit_rms to four decimals: measurements have no more.
std::string write_time_profile(const TimeProfile& profile);

}  // namespace eplb

#endif
