#include <cmath>
#include <cstdlib>

#include "lib/base/error.h"
#include "lib/time/measurement_table.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

// A fit goes over all of them four hundred times.
constexpr std::size_t kMostFitted = 2000;

}  // namespace

const eplb::fuzz::Target measurements_target("measurements", [](std::string_view input) {
    try {
        const std::vector<eplb::Measurement> measurements =
            eplb::parse_measurements(input, "input");
        std::size_t num_experts = 0;
        for (const eplb::Measurement& one : measurements)
            num_experts += one.rows.size();
        if (num_experts > kMostFitted)
            return;
        const eplb::CostFit fit = eplb::fit_cost(measurements, "input");
        if (!(fit.cost.launch_us >= 0 && fit.cost.read_us > 0 && fit.cost.row_us > 0 &&
              std::isfinite(fit.rms)))
            std::abort();
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
});
