#ifndef EPLB_BASE_STRICT_JSON_H
#define EPLB_BASE_STRICT_JSON_H

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

// JSON read so that no other reader could understand it in another way. `where` and `what` start
// the texts of errors: "FILE: layer_list: entry 3".
namespace eplb {

// The one value of a text. Error: no JSON, a byte order mark, anything after the value, a key twice
// in an object, nesting deeper than 32, a number beyond doubles.
nlohmann::json parse_strict_json(std::string_view text, const std::string& name);

void require_object(const nlohmann::json& value, const std::string& what);
void require_list(const nlohmann::json& value, const std::string& what);

// Error: the object lacks the key.
const nlohmann::json& json_member(const nlohmann::json& object,
                                  const char* key,
                                  const std::string& where);

// Null where the object lacks the key.
const nlohmann::json* find_json_member(const nlohmann::json& object, const char* key);

// Error: a key that is not among `known`.
void refuse_other_keys(const nlohmann::json& object,
                       const std::vector<std::string_view>& known,
                       const std::string& where);

// Of a file of ours, whose members `format` and `version` say so. Error: another format, where
// `remedy` ends the text; a version above `newest`.
void require_format(const nlohmann::json& root,
                    const std::string& format,
                    int newest,
                    const std::string& name,
                    const std::string& remedy = "");

// An integer written as one (2, not 2.0 or true) in [least, most].
int json_integer(const nlohmann::json& value, const std::string& what, int least, int most);
std::vector<int> json_integers(const nlohmann::json& list,
                               const std::string& what,
                               int least,
                               int most);

std::string json_string(const nlohmann::json& value, const std::string& what);

}  // namespace eplb

#endif
