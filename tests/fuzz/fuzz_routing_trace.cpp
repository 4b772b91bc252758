#include <cstdint>

#include "lib/formats/statistics/count_readers.h"
#include "tests/fuzz/check_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    eplb::test::check_table([&] { return eplb::parse_routing_trace(text, "input", 0); });
    return 0;
}
