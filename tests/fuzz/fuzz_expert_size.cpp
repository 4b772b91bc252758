#include <cmath>
#include <cstdlib>

#include "lib/base/error.h"
#include "lib/model/expert_size.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target expert_size_target("expert_size", [](std::string_view input) {
    try {
        const double bytes = eplb::expert_bytes(eplb::ModelJson::parse(input, "input"));
        if (!std::isfinite(bytes) || bytes <= 0)
            std::abort();
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
});
