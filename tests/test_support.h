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

// How many of `count` random cases to run: all, but a fifth under sanitizers, with which each takes
// ten times as long and fails as any other would.
constexpr int num_random_cases(int count) {
#ifdef EPLB_SANITIZED
    return (count + 4) / 5;
#else
    return count;
#endif
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
