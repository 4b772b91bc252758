// SGLang's rows of slots, with the MoE layers given.
#include "tests/fuzz/config_round_trip.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target sglang_config_target("sglang_config", [](std::string_view input) {
    using namespace eplb;
    fuzz::config_round_trip(input, ConfigFormat::sglang, fuzz::corpus_context());
});
