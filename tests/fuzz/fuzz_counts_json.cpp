
#include "lib/formats/statistics/count_readers.h"
#include "tests/fuzz/check_table.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target counts_json_target("counts_json", [](std::string_view input) {
    eplb::test::check_table([&] { return eplb::parse_counts_json(input, "input"); });
});
