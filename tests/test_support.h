#ifndef EPLB_TESTS_TEST_SUPPORT_H
#define EPLB_TESTS_TEST_SUPPORT_H

#include <filesystem>
#include <functional>
#include <string>

#include "tests/catch.h"

namespace eplb::test {

// A folder of its own for one test, removed at the end.
class TemporaryFolder {
  public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

void write_text(const std::filesystem::path& path, const std::string& content);
std::string read_text(const std::filesystem::path& path);

// The text of the eplb::Error that `call` throws; empty if it throws none.
std::string error_of(const std::function<void()>& call);

// `text` with the first `part` replaced, which must be there.
std::string replaced(std::string text, const std::string& part, const std::string& by);

// Under sanitizers a test takes ten times as long: they look at what it reads and writes, which
// other sizes and further cases of a kind do not change.
#ifdef EPLB_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// How many of `count` random cases to run.
constexpr int num_random_cases(int count) {
    return kSanitized ? (count + 4) / 5 : count;
}

// tests/data in the source tree.
std::filesystem::path test_data();

// The real statistics beside the checkout, or an empty path where they are absent.
std::filesystem::path real_data();

}  // namespace eplb::test

#define CHECK_STARTS_WITH(text, part)           \
    do {                                        \
        const std::string text_of_check = text; \
        CAPTURE(text_of_check);                 \
        CHECK(text_of_check.starts_with(part)); \
    } while (false)

#endif
