#include "lib/formats/statistics/trtllm_json.h"

#include <set>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/formats/statistics/rank_files.h"

namespace eplb {

using nlohmann::json;

json read_trtllm_json(const std::string& path) {
    const std::string text = read_file(path);
    std::set<std::string> keys;
    // a finished object no longer tells that a key stood there twice
    const auto refuse_twice = [&](int depth, json::parse_event_t event, const json& parsed) {
        if (event == json::parse_event_t::key && depth == 1 &&
            !keys.insert(parsed.get<std::string>()).second)
            fail_at_key(path, parsed.get<std::string>(), "stands there twice");
        return true;
    };
    try {
        return json::parse(text, refuse_twice);
    } catch (const json::parse_error& error) {
        throw Error(path + ": no valid JSON at byte " + std::to_string(error.byte) +
                    ": the recording is unfinished or the file is damaged");
    } catch (const json::exception&) {
        throw Error(path + ": holds a number too large for any reader: the file is damaged");
    }
}

}  // namespace eplb
