#include "lib/base/error.h"
#include "lib/model/decoder_config.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_folder.h"

const eplb::fuzz::Target model_config_target("model_config", [](std::string_view input) {
    static const eplb::fuzz::ScratchFolder folder;
    folder.write("config.json", input);
    try {
        eplb::read_decoder_config(folder.path());
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
});
