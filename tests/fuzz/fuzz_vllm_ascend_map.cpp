// vllm-ascend's expert map, with the MoE layers given.
#include "tests/fuzz/config_round_trip.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target vllm_ascend_map_target("vllm_ascend_map", [](std::string_view input) {
    using namespace eplb;
    fuzz::config_round_trip(input, ConfigFormat::vllm_ascend, fuzz::corpus_context());
});
