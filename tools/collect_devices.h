#ifndef EPLB_TOOLS_COLLECT_DEVICES_H
#define EPLB_TOOLS_COLLECT_DEVICES_H

#include <functional>

#include "kernels/backend.h"
#include "kernels/communicator.h"
#include "lib/base/parallel.h"
#include "lib/cluster/process_group.h"
#include "tools/collect_options.h"

namespace eplb::cli {

// Ends a run on several devices where a signal came that the others do not know of: they are told.
struct Stopped {};

// What a run, or one of several processes or threads of it, computes on.
struct Device {
    ThreadPool& threads;
    Backend& backend;
    bool is_gpu = false;
    // the other devices of the run; null where there is one
    ProcessGroup* group = nullptr;
    Communicator* communicator = nullptr;

    int num_devices() const { return group == nullptr ? 1 : group->size(); }
};

// Finds out who this process is among those of the run, meets the others, and calls `body` for each
// of its devices, in threads where there are several; gives the exit code. All processes must have
// the same options and inputs.
//
// Where a device fails all do, within bounded time, and say which one it was. Only rank 0 has notes
// and warnings: the Output of the others is quiet.
int run_on_devices(const Output& out,
                   const CollectOptions& options,
                   const Recording& recording,
                   const std::function<int(const Output&, const Device&)>& body);

}  // namespace eplb::cli

#endif
