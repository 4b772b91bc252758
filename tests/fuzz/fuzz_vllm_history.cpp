
#include "lib/formats/statistics/count_readers.h"
#include "tests/fuzz/check_table.h"
#include "tests/fuzz/fuzz_target.h"

const eplb::fuzz::Target vllm_history_target("vllm_history", [](std::string_view input) {
    eplb::test::check_table([&] { return eplb::parse_vllm_history(input, "input"); });
});
