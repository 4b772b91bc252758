// Hygon's expert map: the only model of a file, and one of several.
#include "tests/fuzz/config_round_trip.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace eplb;
    ConfigContext context = fuzz::corpus_context();
    fuzz::config_round_trip(data, size, ConfigFormat::hygon, context);
    context.model_key = "main";
    fuzz::config_round_trip(data, size, ConfigFormat::hygon, context);
    return 0;
}
