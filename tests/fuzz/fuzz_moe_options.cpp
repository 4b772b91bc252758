#include "lib/base/error.h"
#include "lib/formats/configs/eplb_config.h"
#include "tests/fuzz/scratch_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const eplb::fuzz::ScratchFolder folder;
    const std::string path = folder.write("options.yaml", eplb::fuzz::text_of(data, size));
    try {
        eplb::read_moe_options(path);
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
    return 0;
}
