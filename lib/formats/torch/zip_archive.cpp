#include "lib/formats/torch/zip_archive.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <set>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

static_assert(std::endian::native == std::endian::little, "the archives are little-endian");

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kDirectoryHeader = 0x02014b50;
constexpr std::uint32_t kEndRecord = 0x06054b50;
constexpr std::uint32_t kEnd64Record = 0x06064b50;
constexpr std::uint32_t kEnd64Locator = 0x07064b50;

constexpr std::size_t kLocalHeaderSize = 30;
constexpr std::size_t kDirectoryHeaderSize = 46;
constexpr std::size_t kEndRecordSize = 22;
constexpr std::size_t kEnd64RecordSize = 56;
constexpr std::size_t kEnd64LocatorSize = 20;

// a field that holds this has its value in a zip64 record
constexpr std::uint64_t kIn64Record16 = 0xffff;
constexpr std::uint64_t kIn64Record32 = 0xffffffff;
constexpr std::uint16_t kZip64Extra = 1;

constexpr std::uint16_t kStored = 0;
constexpr std::uint16_t kEncryptedFlag = 1;

const char* const kDamagedArchive = ": the file is damaged or cut off; copy it again";

std::uint32_t crc32_of(Bytes data) {
    static const std::array<std::uint32_t, 256> table = [] {
        std::array<std::uint32_t, 256> made = {};
        for (std::uint32_t i = 0; i < made.size(); ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit)
                value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320U : 0U);
            made[i] = value;
        }
        return made;
    }();
    std::uint32_t crc = 0xffffffff;
    for (const std::byte byte : data)
        crc = (crc >> 8) ^ table[(crc ^ static_cast<std::uint32_t>(byte)) & 0xff];
    return ~crc;
}

// `record` must be large enough
template <typename Integer>
Integer load(Bytes record, std::size_t offset) {
    Integer value = 0;
    std::memcpy(&value, record.data() + offset, sizeof value);
    return value;
}

std::string_view text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Directory {
    std::uint64_t num_entries = 0;
    std::uint64_t size = 0;
    std::uint64_t offset = 0;
};

class ZipParser {
  public:
    ZipParser(Bytes archive, const std::string& name) : archive_(archive), name_(name) {}

    std::vector<ZipEntry> parse(ZipChecksums checksums) {
        const Directory directory = find_directory();
        Bytes rest = part(directory.offset, directory.size, "the zip directory");
        std::vector<ZipEntry> entries;
        std::set<std::string_view> names;
        std::uint64_t total_size = 0;
        for (std::uint64_t i = 0; i < directory.num_entries; ++i) {
            entries.push_back(parse_entry(rest, directory.offset, checksums, total_size));
            if (!names.insert(entries.back().name).second)
                fail("entry " + quoted_name(entries.back().name) + " stands there twice");
        }
        if (!rest.empty())
            fail("the zip directory has more entries than the archive says");
        return entries;
    }

  private:
    [[noreturn]] void fail(const std::string& what) const {
        throw Error(name_ + ": " + what + kDamagedArchive);
    }

    Bytes part(std::uint64_t offset, std::uint64_t size, const std::string& what) const {
        if (offset > archive_.size() || size > archive_.size() - offset)
            fail(what + " reaches past the end");
        return archive_.subspan(offset, size);
    }

    // The end record is the last thing in the file but for a comment of up to 64 KiB.
    std::size_t find_end_record() const {
        const std::size_t size = archive_.size();
        for (std::size_t comment = 0; comment <= 0xffff && comment + kEndRecordSize <= size;
             ++comment) {
            const std::size_t offset = size - kEndRecordSize - comment;
            if (load<std::uint32_t>(archive_, offset) == kEndRecord &&
                load<std::uint16_t>(archive_, offset + 20) == comment)
                return offset;
        }
        fail("has no zip directory at its end");
    }

    Directory find_directory() const {
        const std::size_t end = find_end_record();
        const Bytes record = archive_.subspan(end, kEndRecordSize);
        const Directory directory = {load<std::uint16_t>(record, 10),
                                     load<std::uint32_t>(record, 12),
                                     load<std::uint32_t>(record, 16)};
        if (directory.num_entries == kIn64Record16 || directory.size == kIn64Record32 ||
            directory.offset == kIn64Record32)
            return find_directory64(end);
        return directory;
    }

    Directory find_directory64(std::size_t end) const {
        if (end < kEnd64LocatorSize)
            fail("has no zip64 directory");
        const Bytes locator = archive_.subspan(end - kEnd64LocatorSize, kEnd64LocatorSize);
        if (load<std::uint32_t>(locator, 0) != kEnd64Locator)
            fail("has no zip64 directory");
        const Bytes record =
            part(load<std::uint64_t>(locator, 8), kEnd64RecordSize, "the zip64 directory's record");
        if (load<std::uint32_t>(record, 0) != kEnd64Record)
            fail("has no zip64 directory");
        return {load<std::uint64_t>(record, 32), load<std::uint64_t>(record, 40),
                load<std::uint64_t>(record, 48)};
    }

    // Takes one entry off the front of the directory.
    ZipEntry parse_entry(Bytes& directory,
                         std::uint64_t directory_offset,
                         ZipChecksums checksums,
                         std::uint64_t& total_size) const {
        if (directory.size() < kDirectoryHeaderSize ||
            load<std::uint32_t>(directory, 0) != kDirectoryHeader)
            fail("the zip directory has fewer entries than the archive says");
        const std::size_t name_size = load<std::uint16_t>(directory, 28);
        const std::size_t extra_size = load<std::uint16_t>(directory, 30);
        const std::size_t comment_size = load<std::uint16_t>(directory, 32);
        const std::size_t size = kDirectoryHeaderSize + name_size + extra_size + comment_size;
        if (directory.size() < size)
            fail("the zip directory ends within an entry");
        const Bytes header = directory.first(size);
        directory = directory.subspan(size);

        ZipEntry entry;
        entry.name = text_of(header.subspan(kDirectoryHeaderSize, name_size));
        const Place place =
            place_of(header, header.subspan(kDirectoryHeaderSize + name_size, extra_size));
        check_readable(entry.name, header, place);
        entry.data = data_of(entry.name, place, directory_offset);
        // entries that lie in one another would make a small file endless work
        total_size += entry.data.size();
        if (total_size > archive_.size())
            fail("the entries of the zip directory overlap");
        if (checksums == ZipChecksums::checked &&
            crc32_of(entry.data) != load<std::uint32_t>(header, 16))
            fail("entry " + quoted_name(entry.name) + " has another checksum than it should");
        return entry;
    }

    struct Place {
        std::uint64_t stored_size = 0;
        std::uint64_t size = 0;
        std::uint64_t header_offset = 0;
    };

    Place place_of(Bytes header, Bytes extra) const {
        Place place = {load<std::uint32_t>(header, 20), load<std::uint32_t>(header, 24),
                       load<std::uint32_t>(header, 42)};
        Bytes wide = find_zip64_extra(extra);
        for (std::uint64_t* const field : {&place.size, &place.stored_size, &place.header_offset})
            if (*field == kIn64Record32) {
                if (wide.size() < sizeof(std::uint64_t))
                    fail("an entry lacks its zip64 size");
                *field = load<std::uint64_t>(wide, 0);
                wide = wide.subspan(sizeof(std::uint64_t));
            }
        return place;
    }

    // The zip64 field's content; empty where there is none. What follows something that is no field
    // is padding.
    static Bytes find_zip64_extra(Bytes extra) {
        while (extra.size() >= 4) {
            const std::size_t size = load<std::uint16_t>(extra, 2);
            if (size > extra.size() - 4)
                break;
            if (load<std::uint16_t>(extra, 0) == kZip64Extra)
                return extra.subspan(4, size);
            extra = extra.subspan(4 + size);
        }
        return {};
    }

    void check_readable(std::string_view entry, Bytes header, const Place& place) const {
        const std::string subject = name_ + ": entry " + quoted_name(entry) + " is ";
        if ((load<std::uint16_t>(header, 8) & kEncryptedFlag) != 0)
            throw Error(subject + "encrypted; save the file again with torch.save");
        if (load<std::uint16_t>(header, 10) != kStored || place.stored_size != place.size)
            throw Error(subject +
                        "compressed, which torch.save never does; save the file again with it, or "
                        "pack its entries with 'zip -0'");
    }

    // The local header says where the data begins; its sizes may be missing, since a writer that
    // does not know them yet puts them behind the data.
    Bytes data_of(std::string_view entry,
                  const Place& place,
                  std::uint64_t directory_offset) const {
        const std::string subject = "entry " + quoted_name(entry);
        const Bytes header = part(place.header_offset, kLocalHeaderSize, subject);
        if (load<std::uint32_t>(header, 0) != kLocalHeader)
            fail(subject + " has no header");
        const std::size_t name_size = load<std::uint16_t>(header, 26);
        const std::size_t extra_size = load<std::uint16_t>(header, 28);
        const std::uint64_t name_offset = place.header_offset + kLocalHeaderSize;
        if (text_of(part(name_offset, name_size, subject)) != entry)
            fail(subject + " has another name in its header");
        const std::uint64_t offset = name_offset + name_size + extra_size;
        const Bytes data = part(offset, place.size, subject);
        if (offset + place.size > directory_offset)
            fail(subject + " reaches into the zip directory");
        return data;
    }

    Bytes archive_;
    const std::string& name_;
};

}  // namespace

std::vector<ZipEntry> parse_zip(Bytes archive, const std::string& name, ZipChecksums checksums) {
    return ZipParser(archive, name).parse(checksums);
}

}  // namespace eplb
