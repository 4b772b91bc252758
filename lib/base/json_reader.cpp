#include "lib/base/json_reader.h"

#include <charconv>
#include <cstdlib>

#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

bool is_json_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

void append_utf8(std::string& text, unsigned code) {
    const auto tail = [&](int shift) { text += static_cast<char>(0x80 | (code >> shift & 0x3F)); };
    if (code < 0x80) {
        text += static_cast<char>(code);
    } else if (code < 0x800) {
        text += static_cast<char>(0xC0 | code >> 6);
        tail(0);
    } else if (code < 0x10000) {
        text += static_cast<char>(0xE0 | code >> 12);
        tail(6);
        tail(0);
    } else {
        text += static_cast<char>(0xF0 | code >> 18);
        tail(12);
        tail(6);
        tail(0);
    }
}

}  // namespace

double JsonNumber::real() const {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    // strtod tells too large from too small
    return error == std::errc() ? value : std::strtod(std::string(text).c_str(), nullptr);
}

void JsonReader::fail_syntax() const {
    throw JsonSyntaxError(where_, num_taken() + 1);
}

void JsonReader::refuse(const std::string& found) const {
    fail(quoted_name(key_) + " holds " + found);
}

JsonReader::Kind JsonReader::peek() {
    skip_blanks();
    switch (next_ == end_ ? '\0' : *next_) {
        case '{':
            return Kind::object;
        case '[':
            return Kind::list;
        case '"':
            return Kind::string;
        case 't':
        case 'f':
            return Kind::boolean;
        case 'n':
            return Kind::null;
        case '-':
            return Kind::number;
        default:
            if (next_ != end_ && is_json_digit(*next_))
                return Kind::number;
            fail_syntax();
    }
}

const char* JsonReader::found() {
    switch (peek()) {
        case Kind::object:
            return "an object";
        case Kind::list:
            return "a list";
        case Kind::string:
            return "a string";
        case Kind::number:
            return "a number";
        case Kind::boolean:
            return "a boolean";
        case Kind::null:
            break;
    }
    return "null";
}

void JsonReader::need(Kind kind) {
    if (peek() != kind)
        refuse();
}

void JsonReader::take(char expected) {
    if (next_ == end_ || *next_ != expected)
        fail_syntax();
    ++next_;
}

void JsonReader::take_word(std::string_view word) {
    for (const char letter : word)
        take(letter);
}

void JsonReader::open_object() {
    need(Kind::object);
    ++next_;
    is_opened_ = true;
}

void JsonReader::open_list() {
    need(Kind::list);
    ++next_;
    is_opened_ = true;
}

// Whether something comes before the closing bracket, which is taken.
bool JsonReader::next_in(char closing) {
    const bool is_first = std::exchange(is_opened_, false);
    skip_blanks();
    if (next_ != end_ && *next_ == closing) {
        ++next_;
        return false;
    }
    if (!is_first)
        take(',');
    return true;
}

bool JsonReader::next_member(std::string& key) {
    if (!next_in('}'))
        return false;
    skip_blanks();
    key.clear();
    take_string(key);
    skip_blanks();
    take(':');
    key_ = key;
    return true;
}

std::string JsonReader::string() {
    need(Kind::string);
    std::string text;
    take_string(text);
    return text;
}

bool JsonReader::boolean() {
    need(Kind::boolean);
    const bool is_true = *next_ == 't';
    take_word(is_true ? "true" : "false");
    return is_true;
}

std::int64_t JsonReader::integer() {
    // most are spelled without blanks, signs and leading zeros
    std::int64_t quick = 0;
    if (next_ != end_ && *next_ >= '1' && *next_ <= '9')
        if (const auto [after, error] = std::from_chars(next_, end_, quick);
            error == std::errc() && after != end_ && (*after == ',' || *after == ']')) {
            next_ = after;
            return quick;
        }
    const JsonNumber taken = number();
    if (!taken.is_integer)
        refuse("a number that is no integer");
    if (taken.is_large)
        refuse("a number that is too large");
    return taken.integer;
}

JsonNumber JsonReader::number() {
    need(Kind::number);
    const char* const start = next_;
    JsonNumber number;
    number.is_integer = true;
    const auto take_digits = [&] {
        if (next_ == end_ || !is_json_digit(*next_))
            fail_syntax();
        while (next_ != end_ && is_json_digit(*next_))
            ++next_;
    };
    if (*next_ == '-')
        ++next_;
    if (next_ != end_ && *next_ == '0')
        ++next_;
    else
        take_digits();
    if (next_ != end_ && *next_ == '.') {
        number.is_integer = false;
        ++next_;
        take_digits();
    }
    if (next_ != end_ && (*next_ == 'e' || *next_ == 'E')) {
        number.is_integer = false;
        ++next_;
        if (next_ != end_ && (*next_ == '+' || *next_ == '-'))
            ++next_;
        take_digits();
    }
    number.text = {start, static_cast<std::size_t>(next_ - start)};
    if (number.is_integer)
        number.is_large = std::from_chars(start, next_, number.integer).ec != std::errc();
    return number;
}

void JsonReader::skip() {
    skip(0);
}

void JsonReader::skip(int depth) {
    if (depth > kMaxSkippedDepth)
        fail("key " + quoted_name(key_) + ": is nested too deep");
    std::string text;
    switch (peek()) {
        case Kind::object:
            for (open_object(); next_in('}');) {
                skip_blanks();
                text.clear();
                take_string(text);
                skip_blanks();
                take(':');
                skip(depth + 1);
            }
            break;
        case Kind::list:
            for (open_list(); next_item();)
                skip(depth + 1);
            break;
        case Kind::string:
            take_string(text);
            break;
        case Kind::number:
            number();
            break;
        case Kind::boolean:
            boolean();
            break;
        case Kind::null:
            take_word("null");
            break;
    }
}

void JsonReader::end() {
    skip_blanks();
    if (next_ != end_)
        fail_syntax();
}

// ---- strings: UTF-8 without control characters, escapes turned into what they stand for ----

void JsonReader::take_string(std::string& text) {
    take('"');
    while (next_ != end_ && *next_ != '"') {
        if (*next_ == '\\')
            take_escape(text);
        else
            take_character(text);
    }
    take('"');
}

void JsonReader::take_character(std::string& text) {
    const auto lead = static_cast<unsigned char>(*next_);
    if (lead < 0x20)
        fail_syntax();
    text += *next_++;
    if (lead < 0x80)
        return;
    // the second byte's range keeps out overlong forms, surrogates and what is beyond Unicode
    const int num_more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    unsigned char least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead < 0xC2 || lead > 0xF4) {
        --next_;
        fail_syntax();
    }
    for (int i = 0; i < num_more; ++i) {
        const auto byte = next_ == end_ ? 0 : static_cast<unsigned char>(*next_);
        if (byte < least || byte > most)
            fail_syntax();
        text += *next_++;
        least = 0x80;
        most = 0xBF;
    }
}

void JsonReader::take_escape(std::string& text) {
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kCharacters = "\"\\/\b\f\n\r\t";
    take('\\');
    const std::size_t known = next_ == end_ ? kLetters.npos : kLetters.find(*next_);
    if (known != kLetters.npos) {
        text += kCharacters[known];
        ++next_;
        return;
    }
    take('u');
    unsigned code = take_hex();
    if (code >= 0xDC00 && code < 0xE000) {  // the second half of a pair
        --next_;
        fail_syntax();
    }
    if (code >= 0xD800 && code < 0xDC00) {
        take_word("\\u");
        const unsigned low = take_hex();
        if (low < 0xDC00 || low >= 0xE000) {
            --next_;
            fail_syntax();
        }
        code = 0x10000 + ((code & 0x3FF) << 10 | (low & 0x3FF));
    }
    append_utf8(text, code);
}

// Four hexadecimal digits.
unsigned JsonReader::take_hex() {
    unsigned code = 0;
    for (int i = 0; i < 4; ++i) {
        unsigned digit = 0;
        if (next_ == end_ || std::from_chars(next_, next_ + 1, digit, 16).ptr == next_)
            fail_syntax();
        code = code << 4 | digit;
        ++next_;
    }
    return code;
}

}  // namespace eplb
