// Our own config.
#include "tests/fuzz/config_round_trip.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace eplb;
    fuzz::config_round_trip(data, size, ConfigFormat::plain, fuzz::corpus_context());
    return 0;
}
