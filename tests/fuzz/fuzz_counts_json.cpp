#include <cstdint>

#include "lib/base/error.h"
#include "lib/formats/count_readers.h"
#include "tests/fuzz/check_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    try {
        eplb::test::check_table(eplb::parse_counts_json(text, "input"));
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
    return 0;
}
