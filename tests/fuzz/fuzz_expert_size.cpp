#include <cmath>
#include <cstdlib>

#include "lib/base/error.h"
#include "lib/formats/expert_size.h"
#include "tests/fuzz/scratch_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const eplb::fuzz::ScratchFolder folder;
    const std::string path = folder.write("config.json", eplb::fuzz::text_of(data, size));
    try {
        const double bytes = eplb::expert_bytes(path);
        if (!std::isfinite(bytes) || bytes <= 0)
            std::abort();
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
    return 0;
}
