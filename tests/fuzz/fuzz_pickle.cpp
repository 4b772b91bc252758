
#include "lib/base/error.h"
#include "lib/formats/torch/pickle.h"
#include "tests/fuzz/fuzz_target.h"

// Any bytes as a pickle.
const eplb::fuzz::Target pickle_target("pickle", [](std::string_view input) {
    try {
        eplb::parse_pickle(eplb::fuzz::bytes_of(input), "fuzzed");
    } catch (const eplb::Error&) {
    }
});
