#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_file {

using eplb::test::error_of;
using eplb::test::read_text;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace fs = std::filesystem;

namespace {

std::size_t num_files(const TemporaryFolder& folder) {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()));
}

void write_output(const fs::path& path, const std::string& text) {
    OutputFile output(path.string());
    output.write(text);
    output.commit();
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::vector<std::string> lines_of(const std::string& path) {
    LineReader reader(path);
    std::vector<std::string> lines;
    while (const auto line = reader.next())
        lines.emplace_back(*line);
    CHECK(reader.line_number() == static_cast<long>(lines.size()));
    CHECK_FALSE(reader.next());
    return lines;
}

}  // namespace

TEST_CASE("an output file appears only when it is committed") {
    const TemporaryFolder folder;
    write_text(folder / "a", "old");
    {
        OutputFile output((folder / "a").string());
        output.write("new");
        CHECK(read_text(folder / "a") == "old");
        output.sync();
        CHECK(read_text(folder / "a") == "old");
        output.commit();
        CHECK(read_text(folder / "a") == "new");
    }
    CHECK(num_files(folder) == 1);
}

TEST_CASE("an output file that is not committed leaves nothing behind") {
    const TemporaryFolder folder;
    write_text(folder / "old", "old");
    for (const char* const name : {"old", "new"}) {
        OutputFile output((folder / name).string());
        output.write("half");
    }
    CHECK(num_files(folder) == 1);
    CHECK(read_text(folder / "old") == "old");
}

TEST_CASE("a moved output file is written once") {
    const TemporaryFolder folder;
    OutputFile first((folder / "a").string());
    first.write("one ");
    OutputFile second(std::move(first));
    second.write("two");
    second.commit();
    CHECK(read_text(folder / "a") == "one two");
    CHECK(num_files(folder) == 1);
}

TEST_CASE("a bad output path fails before anything is written") {
    const TemporaryFolder folder;
    const std::string absent = (folder / "absent").string() + "/file";
    CHECK(contains(error_of([&] { OutputFile{absent}; }), absent + ": cannot write"));
    CHECK(contains(error_of([&] { OutputFile{folder.path().string()}; }), "is a folder"));
    const std::string endless = (folder / std::string(5000, 'x')).string();
    CHECK(contains(error_of([&] { OutputFile{endless}; }), "cannot write"));
    CHECK(num_files(folder) == 0);
}

TEST_CASE("a full disk is reported") {
    if (!fs::exists("/dev/full"))
        return;
    OutputFile output("/dev/full");
    CHECK(contains(error_of([&] { output.write("text"); }), "/dev/full: cannot write"));
}

TEST_CASE("a target that is no regular file is written in place") {
    write_output("/dev/null", "text");
    CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("a replaced file keeps its permissions and a new one gets the usual") {
    const TemporaryFolder folder;
    write_text(folder / "a", "old");
    ::chmod((folder / "a").c_str(), 0640);
    write_output(folder / "a", "new");
    write_output(folder / "b", "new");
    struct stat status = {};
    REQUIRE(::stat((folder / "a").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0640);
    const mode_t mask = ::umask(0);
    ::umask(mask);
    REQUIRE(::stat((folder / "b").c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == (0666 & ~mask));
}

TEST_CASE("a symbolic link stays and its target is replaced") {
    const TemporaryFolder folder;
    fs::create_directory(folder / "there");
    write_text(folder.path() / "there" / "a", "old");
    fs::create_symlink("there/a", folder / "link");
    fs::create_symlink("there/b", folder / "dangling");
    write_output(folder / "link", "new");
    write_output(folder / "dangling", "new");
    CHECK(fs::is_symlink(folder / "link"));
    CHECK(fs::is_symlink(folder / "dangling"));
    CHECK(read_text(folder.path() / "there" / "a") == "new");
    CHECK(read_text(folder.path() / "there" / "b") == "new");
}

TEST_CASE("links that lead in a circle are an error") {
    const TemporaryFolder folder;
    fs::create_symlink("b", folder / "a");
    fs::create_symlink("a", folder / "b");
    CHECK_FALSE(error_of([&] { read_file(folder / "a"); }).empty());
}

TEST_CASE("whole files are read, of any content and size") {
    const TemporaryFolder folder;
    for (const std::size_t size : {0, 1, 65535, 65536, 65537, 300000}) {
        std::string content(size, '\0');
        for (std::size_t i = 0; i < size; ++i)
            content[i] = static_cast<char>(i * 7);
        write_text(folder / "a", content);
        CHECK(read_file(folder / "a") == content);
        const MappedFile mapped(folder / "a");
        CHECK(std::equal(mapped.bytes().begin(), mapped.bytes().end(), content.begin(),
                         content.end(),
                         [](std::byte a, char b) { return a == static_cast<std::byte>(b); }));
        const PositionedFile positioned(folder / "a");
        CHECK(positioned.size() == size);
        std::string copy(size / 2, '\0');
        positioned.read(size - size / 2, std::as_writable_bytes(std::span(copy)));
        CHECK(copy == content.substr(size - size / 2));
    }
}

TEST_CASE("files that cannot be read are named") {
    const TemporaryFolder folder;
    const std::string absent = (folder / "absent").string();
    const std::string itself = folder.path().string();
    CHECK(contains(error_of([&] { read_file(absent); }), absent + ": cannot open"));
    CHECK(contains(error_of([&] { MappedFile{absent}; }), absent + ": cannot open"));
    CHECK(contains(error_of([&] { PositionedFile{absent}; }), absent + ": cannot open"));
    CHECK(contains(error_of([&] { LineReader{absent}; }), absent + ": cannot open"));
    CHECK(contains(error_of([&] { read_file(itself); }), itself + ": is a folder"));
    CHECK(contains(error_of([&] { MappedFile{itself}; }), itself + ": is a folder"));
    CHECK(contains(error_of([&] { MappedFile{"/dev/null"}; }), "/dev/null: is no regular file"));
    CHECK(contains(error_of([&] { PositionedFile{"/dev/null"}; }), "is no regular file"));
}

TEST_CASE("reading past the end of a file is an error") {
    const TemporaryFolder folder;
    write_text(folder / "a", "12345");
    const PositionedFile file(folder / "a");
    std::vector<std::byte> two(2);
    file.read(3, two);
    CHECK(two[1] == std::byte{'5'});
    CHECK(contains(error_of([&] { file.read(4, two); }), "ends at byte 5"));
}

TEST_CASE("lines are split at newlines and nothing else") {
    const TemporaryFolder folder;
    const auto lines = [&](const std::string& content) {
        write_text(folder / "a", content);
        return lines_of((folder / "a").string());
    };
    using Lines = std::vector<std::string>;
    CHECK(lines("") == Lines{});
    CHECK(lines("\n") == Lines{""});
    CHECK(lines("a") == Lines{"a"});
    CHECK(lines("a\n") == Lines{"a"});
    CHECK(lines("a\n\nb") == Lines{"a", "", "b"});
    CHECK(lines("a\r\nb\r") == Lines{"a\r", "b\r"});
    CHECK(lines(std::string("a\0b\n", 4)) == Lines{std::string("a\0b", 3)});
}

TEST_CASE("lines longer than the buffer and lines across its end are whole") {
    const TemporaryFolder folder;
    constexpr std::size_t kChunk = std::size_t{1} << 18;
    for (const std::size_t size : {kChunk - 1, kChunk, kChunk + 1, 3 * kChunk + 5}) {
        const std::string line(size, 'x');
        write_text(folder / "a", line + "\n" + line + "\nend");
        CHECK(lines_of((folder / "a").string()) == std::vector<std::string>{line, line, "end"});
    }
    std::string many;
    for (int i = 0; i < 100'000; ++i)
        many += std::to_string(i) + "\n";
    write_text(folder / "a", many);
    const std::vector<std::string> lines = lines_of((folder / "a").string());
    REQUIRE(lines.size() == 100'000);
    for (std::size_t i = 0; i < lines.size(); ++i)
        if (lines[i] != std::to_string(i))
            FAIL("line " << i << " is " << lines[i]);
}

TEST_CASE("a missing newline at the end is told") {
    const TemporaryFolder folder;
    const auto ends_in_newline = [&](const std::string& content) {
        write_text(folder / "a", content);
        LineReader reader((folder / "a").string());
        while (reader.next()) {
        }
        return reader.ended_in_newline();
    };
    CHECK(ends_in_newline("a\n"));
    CHECK_FALSE(ends_in_newline("a\nb"));
    CHECK(ends_in_newline(""));
}

}  // namespace eplb::test_file
