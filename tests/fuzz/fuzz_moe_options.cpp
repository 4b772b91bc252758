#include "lib/base/error.h"
#include "lib/formats/configs/eplb_config.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_folder.h"

const eplb::fuzz::Target moe_options_target("moe_options", [](std::string_view input) {
    static const eplb::fuzz::ScratchFolder folder;
    const std::string path = folder.write("options.yaml", input);
    try {
        eplb::read_moe_options(path);
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
});
