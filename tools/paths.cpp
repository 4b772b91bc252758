#include "tools/paths.h"

#include <filesystem>

#include "lib/base/error.h"
#include "lib/base/file.h"

namespace eplb::cli {

bool is_folder(const std::string& path) {
    std::error_code ignored;
    return std::filesystem::is_directory(path, ignored);
}

bool is_same_file(const std::string& a, const std::string& b) {
    std::error_code ignored;
    const auto whole = [&](const std::string& path) {
        return std::filesystem::weakly_canonical(std::filesystem::absolute(path, ignored), ignored);
    };
    return whole(a) == whole(b);
}

void check_output(const std::string& output_path, const std::vector<std::string>& inputs) {
    namespace fs = std::filesystem;
    if (output_path == "-")
        return;
    const fs::path output = output_path;
    const fs::path folder = output.has_parent_path() ? output.parent_path() : fs::path(".");
    std::error_code ignored;
    for (const std::string& input : inputs) {
        if (fs::is_regular_file(input, ignored) && fs::equivalent(output, input, ignored))
            throw UsageError(output_path + ": is an input; the output needs a name of its own");
        if (fs::is_directory(input, ignored) && fs::equivalent(folder, input, ignored) &&
            (output.extension() == ".safetensors" || output.filename() == "meta_info.json"))
            throw UsageError(output_path +
                             ": belongs to the statistics; the output needs a name "
                             "of its own");
    }
}

std::string read_input(const std::string& path) {
    return read_file(path == "-" ? "/dev/stdin" : path);
}

std::string name_of_input(const std::string& path) {
    return path == "-" ? "standard input" : path;
}

}  // namespace eplb::cli
