#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/base/error.h"
#include "lib/formats/torch/pickle.h"

// Any bytes as a pickle.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        eplb::parse_pickle(std::as_bytes(std::span(data, size)), "fuzzed");
    } catch (const eplb::Error&) {
    }
    return 0;
}
