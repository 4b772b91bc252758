#ifndef EPLB_FORMATS_STATISTICS_JSON_KEYS_H
#define EPLB_FORMATS_STATISTICS_JSON_KEYS_H

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace eplb {

// Position in `keys` of the first of them that the outermost object of a JSON file has, in the
// order of the file; nothing where it has none, or where the file is no JSON up to there. Reads no
// further than needed.
std::optional<std::size_t> find_json_key(const std::string& path,
                                         const std::vector<std::string>& keys);

}  // namespace eplb

#endif
