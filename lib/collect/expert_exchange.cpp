#include "lib/collect/expert_exchange.h"

#include "lib/collect/stages.h"

namespace eplb {

void ExpertExchange::Plan::grow(int num_slots, std::size_t num_rows, bool with_row_slots) {
    slot_begin.grow(static_cast<std::size_t>(num_slots) + 1);
    rows.grow(num_rows);
    source_rows.grow(num_rows);
    if (with_row_slots)
        row_slots.grow(num_rows);
}

Backend::DispatchRows ExpertExchange::Plan::arrays() const {
    return {.slot_begin = slot_begin.data(),
            .rows = rows.data(),
            .source_rows = source_rows.data(),
            .row_slots = row_slots.data()};
}

std::size_t ExpertExchange::Plan::num_bytes() const {
    return (rows.capacity() + source_rows.capacity() + row_slots.capacity()) * sizeof(std::int32_t);
}

ExpertExchange::ExpertExchange(std::vector<int> slot_begin,
                               int hidden_size,
                               int top_k,
                               Backend& backend,
                               Communicator* communicator)
    : slot_begin_(std::move(slot_begin)),
      hidden_size_(hidden_size),
      top_k_(top_k),
      backend_(backend),
      communicator_(communicator),
      plan_(backend),
      begins_(backend),
      outputs_(backend),
      received_plan_(backend),
      sent_(backend),
      received_(backend),
      received_slots_(backend),
      received_outputs_(backend) {}

std::size_t ExpertExchange::buffer_bytes() const {
    return plan_.num_bytes() + received_plan_.num_bytes() +
           (outputs_.capacity() + sent_.capacity() + received_.capacity() +
            received_outputs_.capacity()) *
               sizeof(float) +
           received_slots_.capacity() * sizeof(std::int32_t);
}

ExpertExchange::Outputs ExpertExchange::run(int num_tokens,
                                            const std::int32_t* tokens,
                                            const std::int32_t* slot_ids,
                                            const float* normalized,
                                            std::span<const MlpWeights> slot_weights) {
    backend_.begin_stage(Stage::dispatch);
    const std::size_t num_rows =
        static_cast<std::size_t>(num_tokens) * static_cast<std::size_t>(top_k_);
    plan_.grow(num_slots(), num_rows, communicator_ != nullptr);
    outputs_.grow(num_rows * static_cast<std::size_t>(hidden_size_));
    backend_.plan_dispatch({.top_k = top_k_,
                            .num_slots = num_slots(),
                            .first_slot = 0,
                            .num_tokens = num_tokens,
                            .tokens = tokens,
                            .slot_ids = slot_ids},
                           plan_.arrays());
    read_slot_counts();
    if (communicator_ == nullptr)
        run_here(normalized, slot_weights);
    else
        run_everywhere(num_rows, normalized, slot_weights);
    return {plan_.rows.data(), outputs_.data()};
}

// The sizes of what travels and of the experts' products: the one thing that the host waits for.
void ExpertExchange::read_slot_counts() {
    const auto num_begins = static_cast<std::size_t>(num_slots()) + 1;
    host_begins_.resize(num_begins * static_cast<std::size_t>(num_devices()));
    if (communicator_ == nullptr) {
        plan_.slot_begin.download(host_begins_);
    } else {
        begins_.grow(host_begins_.size());
        communicator_->all_gather(plan_.slot_begin.data(), num_begins * sizeof(std::int32_t),
                                  begins_.data());
        begins_.download(host_begins_);
    }
    slot_counts_.assign(num_begins - 1, 0);
    for (std::size_t first = 0; first < host_begins_.size(); first += num_begins)
        for (std::size_t slot = 0; slot + 1 < num_begins; ++slot)
            slot_counts_[slot] += host_begins_[first + slot + 1] - host_begins_[first + slot];
}

void ExpertExchange::run_here(const float* normalized, std::span<const MlpWeights> slot_weights) {
    backend_.begin_stage(Stage::experts);
    backend_.grouped_mlp(slot_weights, host_begins_, plan_.source_rows.data(), normalized,
                         outputs_.data());
}

void ExpertExchange::run_everywhere(std::size_t num_rows,
                                    const float* normalized,
                                    std::span<const MlpWeights> slot_weights) {
    const auto here = static_cast<std::size_t>(communicator_->rank());
    const auto num_devices = static_cast<std::size_t>(communicator_->size());
    const auto hidden = static_cast<std::size_t>(hidden_size_);
    const int first_slot = slot_begin_[here];
    const int num_here = slot_begin_[here + 1] - first_slot;
    // where the rows for device `target` begin in what device `source` sends
    const auto begin_of = [&](std::size_t source, std::size_t target) {
        return host_begins_[source * (static_cast<std::size_t>(num_slots()) + 1) +
                            static_cast<std::size_t>(slot_begin_[target])];
    };
    std::vector<std::int64_t> send_begin(num_devices + 1);  // rows; below, their bytes
    std::vector<std::int64_t> receive_begin(num_devices + 1);
    for (std::size_t d = 0; d < num_devices; ++d) {
        send_begin[d + 1] = begin_of(here, d + 1);
        receive_begin[d + 1] = receive_begin[d] + begin_of(d, here + 1) - begin_of(d, here);
    }
    const auto num_received = static_cast<std::size_t>(receive_begin.back());
    const auto in_bytes = [](std::vector<std::int64_t> begin, std::size_t row_bytes) {
        for (std::int64_t& offset : begin)
            offset *= static_cast<std::int64_t>(row_bytes);
        return begin;
    };
    const std::size_t row_bytes = hidden * sizeof(float);

    sent_.grow(num_rows * hidden);
    received_.grow(num_received * hidden);
    received_slots_.grow(num_received);
    received_outputs_.grow(num_received * hidden);
    received_plan_.grow(num_here, num_received, false);
    backend_.gather_rows(plan_.source_rows.data(), static_cast<std::int64_t>(num_rows), row_bytes,
                         normalized, sent_.data());
    communicator_->exchange(plan_.row_slots.data(), in_bytes(send_begin, sizeof(std::int32_t)),
                            received_slots_.data(), in_bytes(receive_begin, sizeof(std::int32_t)));
    communicator_->exchange(sent_.data(), in_bytes(send_begin, row_bytes), received_.data(),
                            in_bytes(receive_begin, row_bytes));
    // rows arrive device after device; experts take them slot after slot
    backend_.plan_dispatch({.top_k = 1,
                            .num_slots = num_here,
                            .first_slot = first_slot,
                            .num_tokens = static_cast<int>(num_received),
                            .tokens = nullptr,
                            .slot_ids = received_slots_.data()},
                           received_plan_.arrays());
    std::vector<std::int32_t> begin_here(static_cast<std::size_t>(num_here) + 1);
    for (std::size_t slot = 0; slot + 1 < begin_here.size(); ++slot)
        begin_here[slot + 1] =
            begin_here[slot] + slot_counts_[static_cast<std::size_t>(first_slot) + slot];

    backend_.begin_stage(Stage::experts);
    backend_.grouped_mlp(slot_weights, begin_here, received_plan_.source_rows.data(),
                         received_.data(), received_outputs_.data());

    backend_.begin_stage(Stage::dispatch);
    // back in the order in which they came: received_ has been read and takes them
    backend_.gather_rows(received_plan_.rows.data(), static_cast<std::int64_t>(num_received),
                         row_bytes, received_outputs_.data(), received_.data());
    communicator_->exchange(received_.data(), in_bytes(receive_begin, row_bytes), outputs_.data(),
                            in_bytes(send_begin, row_bytes));
}

}  // namespace eplb
