#include "lib/base/strict_json.h"

#include <algorithm>
#include <set>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

using nlohmann::json;

// More than any of our formats or a model's config.json needs, little enough for recursion.
constexpr int kMaxDepth = 32;

std::string line_of(std::string_view text, std::size_t byte) {
    const std::string_view before = text.substr(0, std::min(byte, text.size()));
    return "line " + std::to_string(std::count(before.begin(), before.end(), '\n') + 1);
}

// Sees each key as it is read, since a finished object no longer tells that a key stood there
// twice.
class StrictnessCheck {
  public:
    explicit StrictnessCheck(const std::string& name) : name_(name) {}

    bool operator()(int depth, json::parse_event_t event, const json& value) {
        using Event = json::parse_event_t;
        if (depth > kMaxDepth)
            throw Error(name_ + ": lists and objects are nested more than " +
                        std::to_string(kMaxDepth) + " deep; this is no file of a known format");
        if (event == Event::object_start)
            keys_.emplace_back();
        else if (event == Event::object_end)
            keys_.pop_back();
        else if (event == Event::key && !keys_.back().insert(value.get<std::string>()).second)
            throw Error(name_ + ": key " + quoted_name(value.get<std::string>()) +
                        " stands twice in an object; readers differ in which one they take");
        return true;
    }

  private:
    const std::string& name_;
    std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

bool is_integer_in(const json& value, int least, int most) {
    // as a double it cannot overflow, and the limits are far below where doubles have gaps
    return value.is_number_integer() && value.get<double>() >= least && value.get<double>() <= most;
}

// short, whatever the value holds
std::string shown(const json& value) {
    return value.is_number() || value.is_boolean() || value.is_null()
               ? value.dump()
               : "a value of type " + std::string(value.type_name());
}

}  // namespace

json parse_strict_json(std::string_view text, const std::string& name) {
    if (text.starts_with("\xEF\xBB\xBF"))
        throw Error(name +
                    ": starts with a byte order mark, which Python's reader refuses; remove "
                    "it");
    try {
        return json::parse(text, StrictnessCheck(name));
    } catch (const json::parse_error& error) {
        throw Error(name + ": " + line_of(text, error.byte) +
                    ": no valid JSON from here on; is the file whole?");
    } catch (const json::exception&) {
        throw Error(name + ": holds a number too large for any reader");
    }
}

void require_object(const json& value, const std::string& what) {
    if (!value.is_object())
        throw Error(what + " is " + shown(value) + ", it must be an object");
}

void require_list(const json& value, const std::string& what) {
    if (!value.is_array())
        throw Error(what + " is " + shown(value) + ", it must be a list");
}

const json* find_json_member(const json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() ? nullptr : &*found;
}

const json& json_member(const json& object, const char* key, const std::string& where) {
    if (const json* const member = find_json_member(object, key))
        return *member;
    throw Error(where + ": key \"" + key + "\" is missing");
}

void refuse_other_keys(const json& object,
                       const std::vector<std::string_view>& known,
                       const std::string& where) {
    for (const auto& [key, value] : object.items())
        if (std::find(known.begin(), known.end(), key) == known.end())
            throw Error(where + ": unknown key " + quoted_name(key));
}

int json_integer(const json& value, const std::string& what, int least, int most) {
    if (!is_integer_in(value, least, most))
        throw Error(what + " is " + shown(value) + ", it must be an integer from " +
                    std::to_string(least) + " to " + std::to_string(most));
    return value.get<int>();
}

std::vector<int> json_integers(const json& list, const std::string& what, int least, int most) {
    require_list(list, what);
    std::vector<int> numbers;
    numbers.reserve(list.size());
    for (const json& value : list)
        numbers.push_back(is_integer_in(value, least, most)
                              ? value.get<int>()
                              : json_integer(value, what + ": an entry", least, most));
    return numbers;
}

std::string json_string(const json& value, const std::string& what) {
    if (!value.is_string())
        throw Error(what + " is " + shown(value) + ", it must be a string");
    return value.get<std::string>();
}

void require_format(const json& root,
                    const std::string& format,
                    int newest,
                    const std::string& name,
                    const std::string& remedy) {
    require_object(root, name + ": the content");
    if (json_string(json_member(root, "format", name), name + ": format") != format)
        throw Error(name + ": format must be \"" + format + "\"" + remedy);
    constexpr int kMost = 1 << 20;
    const int version =
        json_integer(json_member(root, "version", name), name + ": version", 1, kMost);
    if (version > newest)
        throw Error(name + ": version " + std::to_string(version) +
                    " was written by a newer tool; this one reads version " +
                    std::to_string(newest));
}

}  // namespace eplb
