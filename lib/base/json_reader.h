#ifndef EPLB_BASE_JSON_READER_H
#define EPLB_BASE_JSON_READER_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "lib/base/error.h"

namespace eplb {

// What is no JSON, and where: the first byte that cannot stand there.
class JsonSyntaxError : public Error {
  public:
    JsonSyntaxError(const std::string& where, std::size_t byte)
        : Error(where + "is no valid JSON at byte " + std::to_string(byte)), byte_(byte) {}

    std::size_t byte() const { return byte_; }  // from 1; beyond the text where that ends early

  private:
    std::size_t byte_;
};

struct JsonNumber {
    std::string_view text;     // as it is spelled
    bool is_integer = false;   // spelled as one: 2, not 2.0
    bool is_large = false;     // an integer beyond 64 bits
    std::int64_t integer = 0;  // of one that is not large
    double real() const;       // infinite beyond doubles
};

// Takes the values of a JSON text one after the other, in the order of the text, for readers that
// know what comes next: without a tree, so that counts of hundreds of megabytes take no memory, and
// so that a key that stands twice is seen. Every byte is checked, of values that are skipped too.
//
//   std::string key;
//   for (json.open_object(); json.next_member(key);)
//       if (key == "ids")
//           for (json.open_list(); json.next_item();)
//               ids.push_back(json.integer());
//       else
//           json.skip();
//   json.end();
class JsonReader {
  public:
    enum class Kind { object, list, string, number, boolean, null };

    // where: starts all errors, "FILE: line 3: ". The text must outlive the reader; a byte order
    // mark may start it.
    JsonReader(std::string_view text, std::string where)
        : begin_(text.data()),
          next_(text.data() + (text.starts_with("\xEF\xBB\xBF") ? 3 : 0)),
          end_(text.data() + text.size()),
          where_(std::move(where)) {}

    // Of the value that comes next.
    Kind peek();
    // The same in words: "a list".
    const char* found();

    // Open a value; the loops above take all that is in it, and close it. A value of another kind
    // is refused, here as below.
    void open_object();
    void open_list();
    bool next_member(std::string& key);
    bool next_item() {
        if (is_opened_ || next_ == end_ || *next_ != ',')
            return next_in(']');
        ++next_;
        return true;
    }

    std::string string();
    bool boolean();
    std::int64_t integer();  // refuses 2.0, and what 64 bits do not hold
    JsonNumber number();
    // Any value, nested up to kMaxSkippedDepth deep.
    void skip();

    // Error: anything but blanks follows.
    void end();

    std::size_t num_taken() const { return static_cast<std::size_t>(next_ - begin_); }  // bytes

    [[noreturn]] void fail(const std::string& what) const { throw Error(where_ + what); }
    // The value that comes next has another kind than its reader needs: "KEY" holds a list, where
    // KEY is that of the last member.
    [[noreturn]] void refuse() { refuse(found()); }
    [[noreturn]] void refuse(const std::string& found) const;

  private:
    static constexpr int kMaxSkippedDepth = 100;

    [[noreturn]] void fail_syntax() const;
    void skip_blanks() {
        while (next_ != end_ &&
               (*next_ == ' ' || *next_ == '\n' || *next_ == '\t' || *next_ == '\r'))
            ++next_;
    }
    void need(Kind kind);
    void take(char expected);
    void take_word(std::string_view word);
    bool next_in(char closing);
    void take_string(std::string& text);
    void take_escape(std::string& text);
    void take_character(std::string& text);
    unsigned take_hex();
    void skip(int depth);

    const char* begin_;
    const char* next_;
    const char* end_;
    std::string where_;
    std::string key_;         // of the last member
    bool is_opened_ = false;  // an object or list was opened, and nothing of it was taken yet
};

}  // namespace eplb

#endif
