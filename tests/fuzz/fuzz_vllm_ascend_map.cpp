// vllm-ascend's expert map, with the MoE layers given.
#include "tests/fuzz/config_round_trip.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace eplb;
    fuzz::config_round_trip(data, size, ConfigFormat::vllm_ascend, fuzz::corpus_context());
    return 0;
}
