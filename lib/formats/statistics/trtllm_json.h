#ifndef EPLB_FORMATS_STATISTICS_TRTLLM_JSON_H
#define EPLB_FORMATS_STATISTICS_TRTLLM_JSON_H

#include <nlohmann/json.hpp>
#include <string>

namespace eplb {

// The value in one of the JSON files of a statistics folder, "null" included. Errors start with
// `path`: no JSON, a key twice in the outermost object, a number beyond doubles.
nlohmann::json read_trtllm_json(const std::string& path);

}  // namespace eplb

#endif
