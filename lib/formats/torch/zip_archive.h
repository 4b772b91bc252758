#ifndef EPLB_FORMATS_TORCH_ZIP_ARCHIVE_H
#define EPLB_FORMATS_TORCH_ZIP_ARCHIVE_H

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Zip archives as torch.save writes them: entries that are stored, not compressed, in one part,
// with zip64 records where they are needed. Source of the format: PKWARE's APPNOTE.TXT.
namespace eplb {

// Views into the archive, which must outlive them.
struct ZipEntry {
    std::string_view name;
    std::span<const std::byte> data;
};

// A fuzzer cannot guess checksums; everybody else checks them.
enum class ZipChecksums { checked, ignored };

// The entries of an archive in the order of its directory, no name twice, none reaching into
// another. Errors start with `name`; a compressed or encrypted entry is one.
std::vector<ZipEntry> parse_zip(std::span<const std::byte> archive,
                                const std::string& name,
                                ZipChecksums checksums = ZipChecksums::checked);

}  // namespace eplb

#endif
