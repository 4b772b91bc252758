#include <cstdlib>

#include "lib/base/error.h"
#include "lib/collect/run_state.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/scratch_folder.h"

const eplb::fuzz::Target run_state_target("run_state", [](std::string_view input) {
    static const eplb::fuzz::ScratchFolder folder;
    const eplb::RunStateFile file(folder.write("state", input));
    eplb::RunState state;
    try {
        state = file.load("run");
    } catch (const eplb::Error&) {  // what bad input is to end in
        return;
    }
    if (state.next_layer < 0 || state.num_near_ties < 0 || state.num_moved_slots < 0)
        std::abort();
    file.save(state, state.hidden);
    const eplb::RunState again = file.load("run");
    if (again.counts != state.counts || again.slot_ids != state.slot_ids ||
        again.hidden.size() != state.hidden.size())
        std::abort();
});
