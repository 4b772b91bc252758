#ifndef EPLB_FORMATS_STATISTICS_STREAM_LINE_H
#define EPLB_FORMATS_STATISTICS_STREAM_LINE_H

#include <algorithm>
#include <climits>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"

// One line of a statistics stream as JSON; what its members mean is statistics_stream's matter.
namespace eplb {

struct StreamValue {
    enum class Kind { other, integer, text, boolean, list, table };
    Kind kind = Kind::other;
    std::int64_t integer = 0;
    bool boolean = false;
    std::string text;
    std::vector<std::int64_t> numbers;  // of a list, or of all rows of a table
    std::vector<std::size_t> row_ends;  // of a table, in numbers
};

// A line's members. Lines are flat: integers, strings, booleans, lists and tables of integers.
class StreamLine {
  public:
    explicit StreamLine(std::string where) : where_(std::move(where)) {}

    // Fills the members from JSON; errors as fail().
    void parse(std::string_view text);

    [[noreturn]] void fail(const std::string& what) const { throw Error(where_ + what); }

    StreamValue& add(const std::string& key) {
        const auto [found, is_new] = members_.try_emplace(key);
        if (!is_new)
            fail(quoted_name(key) + " stands there twice");
        return found->second;
    }

    bool has(const std::string& key) const { return members_.count(key) > 0; }

    const StreamValue& get(const std::string& key,
                           StreamValue::Kind kind,
                           const char* kind_name) const {
        const auto found = members_.find(key);
        if (found == members_.end())
            fail("\"" + key + "\" is missing");
        if (found->second.kind != kind)
            fail("\"" + key + "\" must be " + kind_name);
        return found->second;
    }

    std::int64_t integer(const std::string& key, std::int64_t minimum, std::int64_t maximum) const {
        const std::int64_t number = get(key, StreamValue::Kind::integer, "an integer").integer;
        if (number < minimum || number > maximum)
            fail("\"" + key + "\" is " + std::to_string(number) + ", it must be in [" +
                 std::to_string(minimum) + ", " + std::to_string(maximum) + "]");
        return number;
    }

    int small_integer(const std::string& key, int minimum) const {
        return static_cast<int>(integer(key, minimum, INT_MAX));
    }

    // What version 1 does not know is of a later version or a mistake.
    void allow_only(std::initializer_list<const char*> keys) const {
        for (const auto& [key, value] : members_)
            if (std::find(keys.begin(), keys.end(), key) == keys.end())
                fail("unknown member " + quoted_name(key));
    }

  private:
    std::string where_;  // "FILE: line 3: "
    std::map<std::string, StreamValue> members_;
};

}  // namespace eplb

#endif
