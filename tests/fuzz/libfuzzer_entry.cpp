// What libFuzzer's driver calls, in a program of one target.
#include <cstdint>

#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const eplb::fuzz::Feed feed = eplb::fuzz::targets().begin()->second;
    feed({reinterpret_cast<const char*>(data), size});
    return 0;
}
