// Hygon's expert map: the only model of a file, and one of several.
#include "tests/fuzz/config_round_trip.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target hygon_map_target("hygon_map", [](std::string_view input) {
    using namespace eplb;
    ConfigContext context = fuzz::corpus_context();
    fuzz::config_round_trip(input, ConfigFormat::hygon, context);
    context.model_key = "main";
    fuzz::config_round_trip(input, ConfigFormat::hygon, context);
});
