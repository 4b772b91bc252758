#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/formats/statistics/sglang_dump.h"
#include "lib/formats/torch/torch_file.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

void read_as_dump(eplb::TorchFile file) {
    if (eplb::recognize_sglang_dump(file) == eplb::SglangDump::stat) {
        eplb::parse_sglang_stat(file);
        return;
    }
    std::vector<eplb::TorchFile> files;
    files.push_back(std::move(file));
    eplb::parse_sglang_passes(files, "fuzzed", false);
}

}  // namespace

// Any bytes as a file of torch.save and as a dump of SGLang's recorder; checksums, which nothing
// would guess, are left alone.
const eplb::fuzz::Target torch_file_target("torch_file", [](std::string_view input) {
    try {
        read_as_dump(eplb::parse_torch_file(eplb::fuzz::bytes_of(input), "fuzzed",
                                            eplb::ZipChecksums::ignored));
    } catch (const eplb::Error&) {
    }
});
