#ifndef EPLB_BASE_FILE_H
#define EPLB_BASE_FILE_H

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace eplb {

// A whole file, read-only, as bytes. Small files and pipes are read, nothing is assumed of the
// content. Errors name the path.
std::string read_file(const std::filesystem::path& path);

// A regular file mapped into memory for as long as the object lives. Movable, not copyable.
class MappedFile {
  public:
    explicit MappedFile(const std::filesystem::path& path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&&) = delete;

    std::span<const std::byte> bytes() const { return {data_, size_}; }

    // Lets go of the memory behind a part of the file; it is read again when it is used again.
    static void drop(std::span<const std::byte> part);

  private:
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

// A regular file that is read at any place, by any number of threads. Movable, not copyable.
class PositionedFile {
  public:
    explicit PositionedFile(const std::filesystem::path& path);
    ~PositionedFile();
    PositionedFile(PositionedFile&& other) noexcept;
    PositionedFile& operator=(PositionedFile&&) = delete;

    const std::string& name() const { return name_; }
    std::size_t size() const { return size_; }  // when it was opened

    // Fills `into`; an Error if the file ends before.
    void read(std::size_t offset, std::span<std::byte> into) const;

  private:
    std::string name_;
    int fd_ = -1;
    std::size_t size_ = 0;
};

// A stream of lines from a file, a pipe or, for "-", standard input.
class LineReader {
  public:
    explicit LineReader(const std::string& path);
    ~LineReader();
    LineReader(const LineReader&) = delete;
    LineReader& operator=(const LineReader&) = delete;

    // The next line without its newline, valid until the next call; nothing at the end. The last
    // line need not end in a newline: ended_in_newline() tells.
    std::optional<std::string_view> next();

    // number of the line that next() returned last, from 1
    long line_number() const { return line_number_; }
    bool ended_in_newline() const { return ended_in_newline_; }

    // "FILE" or "standard input", for messages
    const std::string& name() const { return name_; }

  private:
    bool fill();

    std::string name_;
    int fd_ = -1;
    std::string buffer_;
    std::size_t begin_ = 0;
    bool at_end_ = false;
    bool ended_in_newline_ = true;
    long line_number_ = 0;
};

// A file that appears whole or not at all: what is written goes to a temporary file beside the
// target, which commit() syncs and renames over it. Without commit() the target stays untouched.
//
// Open it before the work starts, so that a bad path fails early. "-" is standard output; a target
// that is no regular file (/dev/null, a named pipe) is written in place; a symbolic link is
// followed. A replaced file keeps its permissions.
class OutputFile {
  public:
    explicit OutputFile(const std::string& path);
    ~OutputFile();
    OutputFile(OutputFile&& other) noexcept;
    OutputFile& operator=(OutputFile&&) = delete;

    void write(std::string_view text);
    void write(std::span<const std::byte> bytes);

    // Ends the writing: syncs to the disk and closes. commit() then only renames, so that several
    // files can be made ready first and then appear together.
    void sync();
    void commit();

  private:
    void create_temporary();
    void remove_temporary();

    std::string name_;                 // for messages
    std::filesystem::path target_;     // empty: written in place
    std::filesystem::path temporary_;  // empty before the first byte and once renamed
    int fd_ = -1;
    bool owns_fd_ = true;
    unsigned mode_ = 0;  // permissions of the file to be
    bool synced_ = false;
};

}  // namespace eplb

#endif
