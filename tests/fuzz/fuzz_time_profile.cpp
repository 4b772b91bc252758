#include <cstdlib>

#include "lib/base/error.h"
#include "lib/time/layer_cost.h"
#include "lib/time/time_profile_json.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target time_profile_target("time_profile", [](std::string_view input) {
    try {
        const eplb::TimeProfile profile = eplb::parse_time_profile(input, "input");
        const eplb::LayerCost cost = eplb::layer_cost(profile, eplb::expert_work(4096, 1024, 2));
        if (!(cost.launch_us >= 0 && cost.slot_us(1) > 0 && cost.knee() > 0))
            std::abort();
        eplb::parse_time_profile(eplb::write_time_profile(profile), "output");
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
});
