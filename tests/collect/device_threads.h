#ifndef EPLB_TESTS_COLLECT_DEVICE_THREADS_H
#define EPLB_TESTS_COLLECT_DEVICE_THREADS_H

#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/cpu/thread_communicator.h"
#include "lib/cluster/thread_group.h"

namespace eplb::test {

// Calls body(device) on num_devices threads that make up a group; throws what one of them threw.
inline void on_devices(
    int num_devices,
    const std::function<void(int device, ProcessGroup& group, Communicator& communicator)>& body) {
    ThreadGroup threads(num_devices);
    std::vector<std::exception_ptr> errors(num_devices);
    std::vector<std::thread> devices;
    for (int device = 0; device < num_devices; ++device)
        devices.emplace_back([&, device] {
            try {
                const std::unique_ptr<ProcessGroup> group = threads.member(device);
                ThreadCommunicator communicator(*group);
                body(device, *group, communicator);
            } catch (...) {
                errors[device] = std::current_exception();
            }
        });
    for (std::thread& device : devices)
        device.join();
    for (const std::exception_ptr& error : errors)
        if (error)
            std::rethrow_exception(error);
}

}  // namespace eplb::test

#endif
