#include "tests/test_support.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "lib/base/error.h"

namespace eplb::test {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "eplb-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
        throw std::runtime_error("cannot create a temporary folder");
    path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void write_text(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
}

std::string read_text(const fs::path& path) {
    std::ostringstream content;
    content << std::ifstream(path, std::ios::binary).rdbuf();
    return content.str();
}

std::string error_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

std::string replaced(std::string text, const std::string& part, const std::string& by) {
    const std::size_t found = text.find(part);
    REQUIRE(found != std::string::npos);
    return text.replace(found, part.size(), by);
}

fs::path test_data() {
    return fs::path(EPLB_SOURCE_ROOT) / "tests" / "data";
}

fs::path real_data() {
    const fs::path path = fs::path(EPLB_SOURCE_ROOT).parent_path() / "shared" / "data";
    return fs::is_directory(path) ? path : fs::path();
}

}  // namespace eplb::test
