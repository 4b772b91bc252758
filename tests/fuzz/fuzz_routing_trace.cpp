
#include "lib/formats/statistics/count_readers.h"
#include "tests/fuzz/check_table.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target routing_trace_target("routing_trace", [](std::string_view input) {
    eplb::test::check_table([&] { return eplb::parse_routing_trace(input, "input", 0); });
});
