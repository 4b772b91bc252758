#include "tests/fuzz/scratch_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace eplb::fuzz {

namespace fs = std::filesystem;

ScratchFolder::ScratchFolder() {
    std::error_code ignored;
    const fs::path parent =
        fs::is_directory("/dev/shm", ignored) ? fs::path("/dev/shm") : fs::temp_directory_path();
    std::string name = (parent / "eplb-fuzz-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
        std::abort();
    path_ = name;
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

std::string ScratchFolder::write(const std::string& name, std::string_view content) const {
    std::string path = (path_ / name).string();
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 ||
        ::write(fd, content.data(), content.size()) != static_cast<ssize_t>(content.size()))
        std::abort();
    ::close(fd);
    return path;
}

void ScratchFolder::clear() const {
    for (const fs::directory_entry& entry : fs::directory_iterator(path_))
        fs::remove_all(entry.path());
}

}  // namespace eplb::fuzz
