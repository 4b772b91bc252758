#include <algorithm>
#include <cstdlib>

#include "lib/base/error.h"
#include "lib/collect/dataset.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_folder.h"

const eplb::fuzz::Target dataset_target("dataset", [](std::string_view input) {
    constexpr int kVocabSize = 1000;
    static const eplb::fuzz::ScratchFolder folder;
    const std::string path = folder.write("dataset.json", input);
    try {
        for (const eplb::Request& request : eplb::read_dataset(path, kVocabSize))
            for (const auto* const ids : {&request.input_ids, &request.output_ids})
                if (std::any_of(ids->begin(), ids->end(),
                                [](std::int32_t id) { return id < 0 || id >= kVocabSize; }))
                    std::abort();
    } catch (const eplb::Error&) {  // what bad input is to end in
    }
});
