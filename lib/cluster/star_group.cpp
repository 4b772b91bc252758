#include "lib/cluster/star_group.h"

#include <utility>

namespace eplb {
namespace {

Frame with_bytes(Frame call, std::string bytes) {
    call.bytes = std::move(bytes);
    return call;
}

}  // namespace

Frame StarGroup::new_call(Operation operation) {
    return {.kind = FrameKind::message, .operation = operation, .call = ++num_calls_, .bytes = {}};
}

Frame StarGroup::receive_in_step(int from, const Frame& call) {
    Frame frame = receive(from, call);
    if (frame.operation != call.operation || frame.call != call.call)
        fail_all(describe(from) + " is out of step: it calls " + name_of(frame.operation) +
                 " (call " + std::to_string(frame.call) + ") where " + describe(rank()) +
                 " calls " + name_of(call.operation) + " (call " + std::to_string(call.call) +
                 "); this is an error of the program, please report it");
    return frame;
}

std::vector<std::string> StarGroup::collect(const Frame& call, std::string_view own) {
    std::vector<std::string> all{std::string(own)};
    for (int from = 1; from < size(); ++from)
        all.push_back(receive_in_step(from, call).bytes);
    return all;
}

std::vector<std::string> StarGroup::all_gather(std::string_view bytes) {
    check();
    const Frame call = new_call(Operation::all_gather);
    if (rank() != 0) {
        send(0, with_bytes(call, std::string(bytes)));
        return Unpacker(receive_in_step(0, call).bytes).texts();
    }
    auto all = collect(call, bytes);
    for (int to = 1; to < size(); ++to)
        send(to, with_bytes(call, pack_texts(all)));
    return all;
}

std::vector<std::string> StarGroup::gather(std::string_view bytes) {
    check();
    const Frame call = new_call(Operation::gather);
    if (rank() == 0)
        return collect(call, bytes);
    send(0, with_bytes(call, std::string(bytes)));
    return {};
}

void StarGroup::barrier() {
    check();
    const Frame call = new_call(Operation::barrier);
    if (rank() != 0) {
        send(0, call);
        receive_in_step(0, call);
        return;
    }
    collect(call, {});
    for (int to = 1; to < size(); ++to)
        send(to, call);
}

}  // namespace eplb
