#include "lib/formats/statistics/json_counts.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/base/error.h"
#include "lib/formats/statistics/nested_counts.h"
#include "lib/base/quoted_name.h"
#include "lib/statistics/selection.h"

namespace eplb {
namespace {

using nlohmann::json;

constexpr int kMaxIgnoredDepth = 100;

class CountsHandler : public nlohmann::json_sax<json> {
  public:
    CountsHandler(std::string_view text, const JsonCountsPlace& place, const std::string& name)
        : text_(text),
          place_(place),
          name_(name),
          outer_key_(place.entries_key.empty() ? place.counts_key : place.entries_key),
          counts_(name, outer_key_) {}

    JsonCounts take() {
        if (keys_.count(outer_key_) == 0)
            fail_missing();
        return {counts_.shape(), std::move(counts_.counts()), std::move(integers_),
                std::move(texts_)};
    }

    bool start_object(std::size_t) override {
        if (state_ == State::ignored) {
            nest();
        } else if (state_ == State::start) {
            state_ = State::object;
        } else if (state_ == State::entries) {
            state_ = State::entry;
            entry_has_counts_ = false;
        } else {
            refuse("an object");
        }
        return true;
    }

    bool key(string_t& key) override {
        if (state_ == State::object)
            start_member(key);
        else if (state_ == State::entry)
            start_entry_member(key);
        return true;
    }

    bool end_object() override {
        if (state_ == State::ignored) {
            leave();
        } else if (state_ == State::entry) {
            if (!entry_has_counts_)
                counts_.fail_here("key " + quoted_name(place_.counts_key) + " is missing");
            state_ = State::entries;
        }
        return true;
    }

    bool start_array(std::size_t) override {
        if (state_ == State::ignored) {
            nest();
            return true;
        }
        if (state_ == State::counts_value)
            state_ = State::counts;
        else if (state_ == State::entries_value)
            state_ = State::entries;
        else if (state_ != State::counts)
            refuse("a list");
        counts_.open_list();
        return true;
    }

    bool end_array() override {
        if (state_ == State::ignored) {
            leave();
            return true;
        }
        counts_.close_list();
        if (counts_.num_open_lists() == 0)
            state_ = State::object;
        else if (counts_.num_open_lists() == 1 && has_entries())
            state_ = State::entry;
        return true;
    }

    bool number_unsigned(number_unsigned_t number) override {
        if (skips())
            return true;
        if (number > static_cast<number_unsigned_t>(kMaxCount))
            refuse(std::to_string(number) + " is absurd");
        return take_number(static_cast<std::int64_t>(number));
    }

    bool number_integer(number_integer_t number) override {
        if (skips())
            return true;
        if (number < 0)
            refuse(std::to_string(number) + " is negative");
        return take_number(number);
    }

    bool number_float(number_float_t number, const string_t& text) override {
        if (skips())
            return true;
        if (number < 0)
            refuse(text + " is negative");
        if (number != std::floor(number))
            refuse(text + " is no whole number");
        if (number > static_cast<double>(kMaxCount))
            refuse(text + " is absurd");
        return take_number(static_cast<std::int64_t>(number));
    }

    bool null() override { return take_other("null"); }
    bool boolean(bool) override { return take_other("a boolean"); }
    bool string(string_t& text) override {
        const bool is_of_document = state_ == State::ignored && ignored_depth_ == 0;
        if (is_of_document && texts_.count(key_) > 0)
            texts_[key_] = text;
        return take_other("a string");
    }
    bool binary(binary_t&) override { return take_other("binary data"); }

    bool parse_error(std::size_t position,
                     const std::string& token,
                     const nlohmann::detail::exception& error) override {
        if (text_.find_first_not_of(" \t\r\n") == std::string_view::npos)
            fail("is empty");
        if (position > text_.size())
            fail("ends early, at byte " + std::to_string(text_.size()) + ": copy it again");
        const std::string at_byte = " at byte " + std::to_string(position);
        constexpr int kNumberOutOfRange = 406;
        if (error.id == kNumberOutOfRange)
            fail("number " + token + at_byte + " is absurd");
        const std::string_view rest = text_.substr(position > 0 ? position - 1 : 0);
        for (const char* const word : {"NaN", "Infinity"})
            if (rest.starts_with(word))
                fail(word + at_byte + ": counts must be whole numbers");
        fail("is no valid JSON" + at_byte);
    }

  private:
    // what the next event belongs to
    enum class State {
        start,          // nothing has been read
        object,         // the document's object
        integer_value,  // the value of one of integer_keys
        entries_value,  // the value of entries_key
        entries,        // the list of entries
        entry,          // the object that is an entry
        counts_value,   // the value of counts_key
        counts,         // the lists of counts
        ignored,        // the value of another key
    };

    [[noreturn]] void fail(const std::string& what) const { throw Error(name_ + ": " + what); }

    [[noreturn]] void fail_missing() const {
        const std::string missing = quoted_name(outer_key_) + " is missing";
        for (const char* const key : {"physical_to_logical_map", "model_maps", "moe_layer_count"})
            if (keys_.count(key) > 0)
                fail(missing + ": with " + quoted_name(key) + " it is a placement, not counts");
        fail(missing + ": it does not hold counts in this format");
    }

    // something that cannot stand where it stands
    [[noreturn]] void refuse(const std::string& found) const {
        switch (state_) {
            case State::start:
                fail("holds " + found + ", not an object with the key " + quoted_name(outer_key_));
            case State::integer_value:
                fail(quoted_name(key_) + ": " + found + "; an integer is needed");
            case State::entries:
                counts_.fail_here(found + "; an object with the key " +
                                  quoted_name(place_.counts_key) + " is needed");
            case State::counts:
                counts_.fail_here(found + "; counts must be whole numbers, 0 or more");
            default:
                counts_.fail_here(found + "; a list is needed");
        }
    }

    bool has_entries() const { return !place_.entries_key.empty(); }

    void start_member(const std::string& key) {
        if (!keys_.insert(key).second)
            fail("key " + quoted_name(key) + " stands there twice");
        key_ = key;
        const auto& integers = place_.integer_keys;
        const auto& texts = place_.text_keys;
        if (std::find(texts.begin(), texts.end(), key) != texts.end())
            texts_[key] = "";
        if (key == outer_key_)
            state_ = has_entries() ? State::entries_value : State::counts_value;
        else if (std::find(integers.begin(), integers.end(), key) != integers.end())
            state_ = State::integer_value;
        else
            ignore();
    }

    void start_entry_member(const std::string& key) {
        if (key != place_.counts_key) {
            ignore();
            return;
        }
        if (entry_has_counts_)
            fail("key " + quoted_name(key) + " stands twice in one entry of " +
                 quoted_name(outer_key_));
        entry_has_counts_ = true;
        state_ = State::counts_value;
    }

    void ignore() {
        state_after_ignored_ = state_;
        state_ = State::ignored;
    }

    void nest() {
        if (++ignored_depth_ > kMaxIgnoredDepth)
            fail("key " + quoted_name(key_) + ": is nested too deep");
    }

    void leave() {
        if (--ignored_depth_ == 0)
            state_ = state_after_ignored_;
    }

    // whether a number, string, … is in what is ignored
    bool skips() {
        if (state_ != State::ignored)
            return false;
        if (ignored_depth_ == 0)
            state_ = state_after_ignored_;
        return true;
    }

    bool take_number(std::int64_t number) {
        if (state_ == State::counts) {
            counts_.add(number);
        } else if (state_ == State::integer_value) {
            integers_[key_] = number;
            state_ = State::object;
        } else {
            refuse("a number");
        }
        return true;
    }

    bool take_other(const char* kind) {
        if (!skips())
            refuse(kind);
        return true;
    }

    std::string_view text_;
    const JsonCountsPlace& place_;
    const std::string& name_;
    std::string outer_key_;  // whose value is the list that holds all counts
    NestedCounts counts_;
    std::map<std::string, std::int64_t> integers_;
    std::map<std::string, std::string> texts_;

    State state_ = State::start;
    State state_after_ignored_ = State::start;
    int ignored_depth_ = 0;
    bool entry_has_counts_ = false;
    std::set<std::string> keys_;  // of the document's object
    std::string key_;             // the last of them
};

}  // namespace

JsonCounts parse_json_counts(std::string_view text,
                             const JsonCountsPlace& place,
                             const std::string& name) {
    CountsHandler handler(text, place, name);
    json::sax_parse(text.begin(), text.end(), &handler);
    return handler.take();
}

}  // namespace eplb
