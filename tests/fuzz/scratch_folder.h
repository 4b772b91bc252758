#ifndef EPLB_TESTS_FUZZ_SCRATCH_FOLDER_H
#define EPLB_TESTS_FUZZ_SCRATCH_FOLDER_H

#include <filesystem>
#include <string>
#include <string_view>

namespace eplb::fuzz {

// A folder in memory where there is /dev/shm, for readers that take paths. Removed at the end.
class ScratchFolder {
  public:
    ScratchFolder();
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }

    // Replaces the file; gives its path.
    std::string write(const std::string& name, std::string_view content) const;
    void clear() const;

  private:
    std::filesystem::path path_;
};

}  // namespace eplb::fuzz

#endif
