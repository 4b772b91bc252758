#include "lib/formats/statistics/json_counts.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "lib/base/json_reader.h"
#include "lib/base/quoted_name.h"
#include "lib/formats/statistics/nested_counts.h"
#include "lib/statistics/selection.h"

namespace eplb {
namespace {

bool is_one_of(const std::vector<std::string>& keys, const std::string& key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
}

class JsonCountsReader {
    using Kind = JsonReader::Kind;

  public:
    JsonCountsReader(std::string_view text, const JsonCountsPlace& place, const std::string& name)
        : place_(place),
          has_entries_(!place.entries_key.empty()),
          outer_key_(has_entries_ ? place.entries_key : place.counts_key),
          json_(text, name + ": "),
          counts_(name, outer_key_) {}

    JsonCounts read() {
        if (json_.peek() != Kind::object)
            json_.fail(std::string("holds ") + json_.found() + ", not an object with the key " +
                       quoted_name(outer_key_));
        JsonCounts read;
        std::set<std::string> keys;
        std::string key;
        for (json_.open_object(); json_.next_member(key);) {
            if (!keys.insert(key).second)
                json_.fail("key " + quoted_name(key) + " stands there twice");
            if (key == outer_key_)
                read_outer_value();
            else if (is_one_of(place_.integer_keys, key))
                read.integers[key] = read_integer(key);
            else if (is_one_of(place_.text_keys, key) && json_.peek() == Kind::string)
                read.texts[key] = json_.string();
            else
                json_.skip();
            if (is_one_of(place_.text_keys, key))
                read.texts.try_emplace(key);
        }
        json_.end();
        if (keys.count(outer_key_) == 0)
            fail_missing(keys);
        read.shape = counts_.shape();
        read.counts = std::move(counts_.counts());
        return read;
    }

  private:
    [[noreturn]] void fail_missing(const std::set<std::string>& keys) const {
        const std::string missing = quoted_name(outer_key_) + " is missing";
        for (const char* const key : {"physical_to_logical_map", "model_maps", "moe_layer_count"})
            if (keys.count(key) > 0)
                json_.fail(missing + ": with " + quoted_name(key) +
                           " it is a placement, not counts");
        json_.fail(missing + ": it does not hold counts in this format");
    }

    std::int64_t read_integer(const std::string& key) {
        return read_whole_number([&](const std::string& found) {
            json_.fail(quoted_name(key) + ": " + found + "; an integer is needed");
        });
    }

    void read_outer_value() {
        if (!has_entries_) {
            read_list();
            return;
        }
        open_list();
        while (json_.next_item())
            read_entry();
        counts_.close_list();
    }

    void read_entry() {
        if (json_.peek() != Kind::object)
            counts_.fail_here(std::string(json_.found()) + "; an object with the key " +
                              quoted_name(place_.counts_key) + " is needed");
        bool has_counts = false;
        std::string key;
        for (json_.open_object(); json_.next_member(key);) {
            if (key != place_.counts_key) {
                json_.skip();
                continue;
            }
            if (has_counts)
                json_.fail("key " + quoted_name(key) + " stands twice in one entry of " +
                           quoted_name(outer_key_));
            has_counts = true;
            read_list();
        }
        if (!has_counts)
            counts_.fail_here("key " + quoted_name(place_.counts_key) + " is missing");
    }

    void read_list() {
        open_list();
        while (json_.next_item())
            if (json_.peek() == Kind::list)
                read_list();
            else
                counts_.add(read_count());
        counts_.close_list();
    }

    void open_list() {
        if (json_.peek() != Kind::list)
            counts_.fail_here(std::string(json_.found()) + "; a list is needed");
        counts_.open_list();
        json_.open_list();
    }

    std::int64_t read_count() {
        return read_whole_number([&](const std::string& found) {
            counts_.fail_here(found + "; counts must be whole numbers, 0 or more");
        });
    }

    // An integer, or a float of integer value, in [0, kMaxCount]; else refuse() throws.
    template <typename Refuse>
    std::int64_t read_whole_number(Refuse refuse) {
        if (json_.peek() != Kind::number)
            refuse(json_.found());
        const JsonNumber number = json_.number();
        if (number.is_integer && !number.is_large && number.integer >= 0 &&
            number.integer <= kMaxCount)
            return number.integer;
        const std::string text(number.text);
        const double value = number.real();
        if (std::isinf(value))
            json_.fail("number " + text + " at byte " + std::to_string(json_.num_taken()) +
                       " is absurd");
        if (value < 0)
            refuse(text + " is negative");
        if (value != std::floor(value))
            refuse(text + " is no whole number");
        if (value > static_cast<double>(kMaxCount))
            refuse(text + " is absurd");
        return static_cast<std::int64_t>(value);
    }

    const JsonCountsPlace& place_;
    bool has_entries_;
    std::string outer_key_;  // whose value is the list that holds all counts
    JsonReader json_;
    NestedCounts counts_;
};

}  // namespace

JsonCounts parse_json_counts(std::string_view text,
                             const JsonCountsPlace& place,
                             const std::string& name) {
    try {
        return JsonCountsReader(text, place, name).read();
    } catch (const JsonSyntaxError& error) {
        if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
            throw Error(name + ": is empty");
        if (error.byte() > text.size())
            throw Error(name + ": ends early, at byte " + std::to_string(text.size()) +
                        ": copy it again");
        for (const std::string word : {"NaN", "Infinity"})
            if (text.substr(error.byte() - 1).starts_with(word))
                throw Error(name + ": " + word + " at byte " + std::to_string(error.byte()) +
                            ": counts must be whole numbers");
        throw;
    }
}

}  // namespace eplb
