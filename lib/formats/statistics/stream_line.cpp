#include "lib/formats/statistics/stream_line.h"

#include <nlohmann/json.hpp>

#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

using nlohmann::json;

// Fills a StreamLine from JSON without building a tree.
class LineHandler : public nlohmann::json_sax<json> {
  public:
    explicit LineHandler(StreamLine& line) : line_(line) {}

    bool start_object(std::size_t) override {
        if (depth_ > 0)
            refuse("an object");
        depth_ = 1;
        return true;
    }
    bool end_object() override { return true; }

    bool key(string_t& key) override {
        key_ = key;
        value_ = &line_.add(key);
        return true;
    }

    bool start_array(std::size_t) override {
        if (depth_ == 0)
            line_.fail("must be an object");
        if (depth_ == 3 || (depth_ == 2 && value_->row_ends.empty() && !value_->numbers.empty()))
            refuse("a list in a list of integers");
        value_->kind = depth_ == 1 ? StreamValue::Kind::list : StreamValue::Kind::table;
        ++depth_;
        return true;
    }

    bool end_array() override {
        if (--depth_ == 2)
            value_->row_ends.push_back(value_->numbers.size());
        return true;
    }

    bool number_unsigned(number_unsigned_t number) override {
        if (number > static_cast<number_unsigned_t>(INT64_MAX))
            refuse("a number that is too large");
        return number_integer(static_cast<number_integer_t>(number));
    }

    bool number_integer(number_integer_t number) override {
        if (depth_ == 0)
            line_.fail("must be an object");
        if (depth_ == 1) {
            value_->kind = StreamValue::Kind::integer;
            value_->integer = number;
            return true;
        }
        if (depth_ == 2 && value_->kind == StreamValue::Kind::table)
            refuse("an integer in a list of lists");
        value_->numbers.push_back(number);
        return true;
    }

    bool string(string_t& text) override {
        scalar("a string").kind = StreamValue::Kind::text;
        value_->text = text;
        return true;
    }

    bool boolean(bool boolean) override {
        scalar("a boolean").kind = StreamValue::Kind::boolean;
        value_->boolean = boolean;
        return true;
    }

    bool null() override { refuse("null"); }
    bool number_float(number_float_t, const string_t&) override {
        refuse("a number that is no integer");
    }
    bool binary(binary_t&) override { refuse("binary data"); }

    bool parse_error(std::size_t position,
                     const std::string&,
                     const nlohmann::detail::exception&) override {
        line_.fail("no valid JSON at byte " + std::to_string(position));
    }

  private:
    [[noreturn]] void refuse(const std::string& found) const {
        if (depth_ == 0)
            line_.fail("must be an object");
        line_.fail(quoted_name(key_) + " holds " + found);
    }

    StreamValue& scalar(const char* kind) {
        if (depth_ != 1)
            refuse(kind);
        return *value_;
    }

    StreamLine& line_;
    std::string key_;
    StreamValue* value_ = nullptr;
    int depth_ = 0;  // 1: in the object, 2: in a member's list, 3: in a list of that
};

}  // namespace

void StreamLine::parse(std::string_view text) {
    LineHandler handler(*this);
    json::sax_parse(text.data(), text.data() + text.size(), &handler);
}

}  // namespace eplb
