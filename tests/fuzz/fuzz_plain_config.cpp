// Our own config.
#include "tests/fuzz/config_round_trip.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target plain_config_target("plain_config", [](std::string_view input) {
    using namespace eplb;
    fuzz::config_round_trip(input, ConfigFormat::plain, fuzz::corpus_context());
});
