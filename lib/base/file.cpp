#include "lib/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "lib/base/error.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& name, const char* action) {
    throw Error(name + ": cannot " + action + ": " + std::strerror(errno));
}

// read(2) that survives signals
ssize_t read_some(int fd, char* data, std::size_t size) {
    ssize_t n = 0;
    do {
        n = ::read(fd, data, size);
    } while (n < 0 && errno == EINTR);
    return n;
}

int open_to_read(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail(path, "open");
    struct stat status = {};
    if (::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) {
        ::close(fd);
        throw Error(path + ": is a folder, a file is needed");
    }
    return fd;
}

// closes fd where it is something else, a pipe for example
std::size_t size_of_regular_file(int fd, const std::string& name) {
    struct stat status = {};
    if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        ::close(fd);
        throw Error(name + ": is no regular file");
    }
    return static_cast<std::size_t>(status.st_size);
}

// the file that a chain of symbolic links ends in, even when it does not exist yet
fs::path follow_links(fs::path path) {
    std::error_code error;
    for (int depth = 0; depth < 40 && fs::is_symlink(path, error); ++depth) {
        const fs::path link = fs::read_symlink(path, error);
        path = link.is_absolute() ? link : path.parent_path() / link;
    }
    return path;
}

}  // namespace

std::string read_file(const fs::path& path) {
    const int fd = open_to_read(path.string());
    std::string content;
    struct stat status = {};
    if (::fstat(fd, &status) == 0 && status.st_size > 0)
        content.reserve(status.st_size);
    char chunk[1 << 16];
    ssize_t n = 0;
    while ((n = read_some(fd, chunk, sizeof chunk)) > 0)
        content.append(chunk, static_cast<std::size_t>(n));
    const int error = errno;
    ::close(fd);
    if (n < 0) {
        errno = error;
        fail(path.string(), "read");
    }
    return content;
}

MappedFile::MappedFile(const fs::path& path) {
    const int fd = open_to_read(path.string());
    size_ = size_of_regular_file(fd, path.string());
    if (size_ > 0) {
        void* const mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
        if (mapped == MAP_FAILED) {
            ::close(fd);
            fail(path.string(), "map");
        }
        data_ = static_cast<const std::byte*>(mapped);
    }
    ::close(fd);
}

MappedFile::~MappedFile() {
    if (data_ != nullptr)
        ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

void MappedFile::drop(std::span<const std::byte> part) {
    // whole pages only: the ones at the edges may hold something else that is in use
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto begin = reinterpret_cast<std::uintptr_t>(part.data());
    const std::uintptr_t first = (begin + page - 1) / page * page;
    const std::uintptr_t last = (begin + part.size()) / page * page;
    if (first < last)
        ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

PositionedFile::PositionedFile(const fs::path& path)
    : name_(path.string()), fd_(open_to_read(name_)), size_(size_of_regular_file(fd_, name_)) {}

PositionedFile::~PositionedFile() {
    if (fd_ >= 0)
        ::close(fd_);
}

PositionedFile::PositionedFile(PositionedFile&& other) noexcept
    : name_(std::move(other.name_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}

void PositionedFile::read(std::size_t offset, std::span<std::byte> into) const {
    while (!into.empty()) {
        const ssize_t n = ::pread(fd_, into.data(), into.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail(name_, "read");
        if (n == 0)
            throw Error(name_ + ": ends at byte " + std::to_string(offset) +
                        ": it was cut off while it was read");
        offset += static_cast<std::size_t>(n);
        into = into.subspan(static_cast<std::size_t>(n));
    }
}

constexpr std::size_t kMaxLine = std::size_t{1} << 30;

LineReader::LineReader(const std::string& path)
    : name_(path == "-" ? "standard input" : path),
      fd_(path == "-" ? STDIN_FILENO : open_to_read(path)) {}

LineReader::~LineReader() {
    if (fd_ != STDIN_FILENO)
        ::close(fd_);
}

bool LineReader::fill() {
    buffer_.erase(0, begin_);
    begin_ = 0;
    constexpr std::size_t kChunk = std::size_t{1} << 18;
    const std::size_t old_size = buffer_.size();
    buffer_.resize(old_size + kChunk);
    const ssize_t n = read_some(fd_, buffer_.data() + old_size, kChunk);
    buffer_.resize(old_size + static_cast<std::size_t>(n > 0 ? n : 0));
    if (n < 0)
        fail(name_, "read");
    return n > 0;
}

std::optional<std::string_view> LineReader::next() {
    std::size_t searched = begin_;
    while (true) {
        const std::size_t end = buffer_.find('\n', searched);
        if (end != std::string::npos) {
            const std::string_view line(buffer_.data() + begin_, end - begin_);
            begin_ = end + 1;
            ++line_number_;
            return line;
        }
        searched = buffer_.size() - begin_;  // fill() moves the rest to the front
        if (searched > kMaxLine)
            throw Error(name_ + ": line " + std::to_string(line_number_ + 1) +
                        ": has no end within a gigabyte; this is no text");
        if (at_end_ || !fill()) {
            at_end_ = true;
            break;
        }
    }
    if (begin_ == buffer_.size())
        return std::nullopt;
    const std::string_view line(buffer_.data() + begin_, buffer_.size() - begin_);
    begin_ = buffer_.size();
    ended_in_newline_ = false;
    ++line_number_;
    return line;
}

OutputFile::OutputFile(const std::string& path) : name_(path) {
    if (path == "-") {
        name_ = "standard output";
        fd_ = STDOUT_FILENO;
        owns_fd_ = false;
        return;
    }
    const fs::path target = follow_links(path);
    std::error_code ignored;  // where the target cannot be seen, making a file beside it fails
    const fs::file_status status = fs::status(target, ignored);
    if (fs::is_directory(status))
        throw Error(path + ": is a folder; name a file to write");
    if (fs::exists(status) && !fs::is_regular_file(status)) {
        fd_ = ::open(target.c_str(), O_WRONLY | O_CLOEXEC);
        if (fd_ < 0)
            fail(path, "write");
        return;
    }
    target_ = target;
    if (fs::exists(status)) {
        mode_ = static_cast<unsigned>(status.permissions());
    } else {
        const mode_t mask = ::umask(0);
        ::umask(mask);
        mode_ = 0666 & ~mask;
    }
    // a proof that files can be made here; until there is something to write, a program that is
    // killed leaves nothing behind
    create_temporary();
    remove_temporary();
}

void OutputFile::create_temporary() {
    std::string temporary = target_.string() + ".XXXXXX.tmp";
    fd_ = ::mkostemps(temporary.data(), 4, O_CLOEXEC);
    if (fd_ < 0)
        fail(name_, "write");
    temporary_ = temporary;
    if (::fchmod(fd_, static_cast<mode_t>(mode_)) != 0) {
        const int error = errno;
        remove_temporary();
        errno = error;
        fail(name_, "write");
    }
}

void OutputFile::remove_temporary() {
    if (fd_ >= 0 && owns_fd_)
        ::close(std::exchange(fd_, -1));
    if (!temporary_.empty())
        ::unlink(temporary_.c_str());
    temporary_.clear();
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : name_(std::move(other.name_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::exchange(other.fd_, -1)),
      owns_fd_(other.owns_fd_),
      mode_(other.mode_),
      synced_(other.synced_) {}

OutputFile::~OutputFile() {
    remove_temporary();
}

void OutputFile::write(std::string_view text) {
    if (fd_ < 0)
        create_temporary();
    while (!text.empty()) {
        const ssize_t n = ::write(fd_, text.data(), text.size());
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail(name_, "write");
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

void OutputFile::write(std::span<const std::byte> bytes) {
    write(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

void OutputFile::sync() {
    if (synced_)
        return;
    synced_ = true;
    if (target_.empty())
        return;
    if (fd_ < 0)
        create_temporary();  // an empty file
    // closed at once: some file systems report a full disk only here, and a folder of many files
    // does not run out of descriptors
    const bool is_on_disk = ::fsync(fd_) == 0;
    if (::close(std::exchange(fd_, -1)) != 0 || !is_on_disk)
        fail(name_, "write");
}

void OutputFile::commit() {
    sync();
    if (temporary_.empty())
        return;
    if (::rename(temporary_.c_str(), target_.c_str()) != 0)
        fail(name_, "write");
    temporary_.clear();
    // the new name itself must reach the disk; some file systems cannot sync a folder
    const fs::path folder = target_.parent_path();
    const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ::fsync(fd);
        ::close(fd);
    }
}

}  // namespace eplb
