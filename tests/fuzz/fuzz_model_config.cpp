#include "lib/base/error.h"
#include "lib/model/decoder_config.h"
#include "tests/fuzz/scratch_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const eplb::fuzz::ScratchFolder folder;
    folder.write("config.json", eplb::fuzz::text_of(data, size));
    try {
        eplb::read_decoder_config(folder.path());
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
    return 0;
}
