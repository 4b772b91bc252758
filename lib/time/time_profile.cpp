#include "lib/time/time_profile.h"

namespace eplb {
namespace {

// Fitted to the rows `uniform` of ai-dynamo/aiconfigurator's tables (Apache-2.0) of DeepSeek-V3's
// experts, 7168 x 2048.
TimeProfile decode_profile(const char* name,
                           const char* table,
                           double t0_us,
                           double bytes_per_second,
                           double flop_per_second,
                           double fit_rms) {
    return {.name = name,
            .dtype = "fp8",
            .kernel = "SGLang 0.5.10, wide EP decode (DeepEP low latency), FP8 blocks",
            .table = table,
            .t0_us = t0_us,
            .bytes_per_second = bytes_per_second,
            .flop_per_second = flop_per_second,
            .fit_rms = fit_rms};
}

}  // namespace

const std::vector<TimeProfile>& built_in_profiles() {
    // scripts/fit_time_profiles.py prints these lines
    static const std::vector<TimeProfile> kProfiles = {
        decode_profile("h100", "sglang-0.5.10-generation-h100_sxm.csv", 21.68, 2.7367e12, 1.1404e15,
                       0.0363),
        decode_profile("h200", "sglang-0.5.10-generation-h200_sxm.csv", 20.59, 3.8280e12, 1.2424e15,
                       0.0364),
        decode_profile("b200", "sglang-0.5.10-generation-b200_sxm.csv", 19.74, 5.5267e12, 1.9466e15,
                       0.0368),
        decode_profile("gb200", "sglang-0.5.10-generation-gb200.csv", 21.15, 5.8508e12, 2.1367e15,
                       0.0478)};
    return kProfiles;
}

}  // namespace eplb
