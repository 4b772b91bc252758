#include "lib/collect/expert_exchange.h"

#include "lib/base/grid.h"
#include "lib/collect/stages.h"

namespace eplb {

void ExpertExchange::DispatchPlan::grow(int num_places,
                                        std::size_t num_rows,
                                        bool with_row_places) {
    place_begin.grow(static_cast<std::size_t>(num_places) + 1);
    rows.grow(num_rows);
    source_rows.grow(num_rows);
    if (with_row_places)
        row_places.grow(num_rows);
}

Backend::DispatchRows ExpertExchange::DispatchPlan::arrays() const {
    return {.place_begin = place_begin.data(),
            .rows = rows.data(),
            .source_rows = source_rows.data(),
            .row_places = row_places.data()};
}

std::size_t ExpertExchange::DispatchPlan::num_bytes() const {
    return (rows.capacity() + source_rows.capacity() + row_places.capacity()) *
           sizeof(std::int32_t);
}

ExpertExchange::ExpertExchange(int hidden_size,
                               int top_k,
                               Backend& backend,
                               Communicator* communicator)
    : hidden_size_(hidden_size),
      top_k_(top_k),
      backend_(backend),
      communicator_(communicator),
      plan_(backend),
      begins_(backend),
      outputs_(backend),
      received_plan_(backend),
      sent_(backend),
      received_(backend),
      received_places_(backend),
      received_outputs_(backend) {}

std::size_t ExpertExchange::buffer_bytes() const {
    return plan_.num_bytes() + received_plan_.num_bytes() +
           (outputs_.capacity() + sent_.capacity() + received_.capacity() +
            received_outputs_.capacity()) *
               sizeof(float) +
           received_places_.capacity() * sizeof(std::int32_t);
}

ExpertExchange::Outputs ExpertExchange::run(int num_tokens,
                                            const ExpertPlaces& places,
                                            const std::int32_t* place_ids,
                                            const float* normalized,
                                            std::span<const MlpWeights> experts) {
    backend_.begin_stage(Stage::dispatch);
    const std::size_t num_rows =
        static_cast<std::size_t>(num_tokens) * static_cast<std::size_t>(top_k_);
    plan_.grow(places.num_places(), num_rows, communicator_ != nullptr);
    outputs_.grow(num_rows * static_cast<std::size_t>(hidden_size_));
    backend_.plan_dispatch({.top_k = top_k_,
                            .num_places = places.num_places(),
                            .first_place = 0,
                            .num_tokens = num_tokens,
                            .place_ids = place_ids},
                           plan_.arrays());
    read_begins(places.num_places());
    if (communicator_ != nullptr) {
        run_everywhere(num_rows, places, normalized, experts);
    } else {
        backend_.begin_stage(Stage::experts);
        backend_.grouped_mlp(experts, host_begins_, plan_.source_rows.data(), normalized,
                             outputs_.data());
    }
    return {plan_.rows.data(), outputs_.data()};
}

// The sizes of what travels and of the experts' products: the one thing that the host waits for.
void ExpertExchange::read_begins(int num_places) {
    const auto num_begins = static_cast<std::size_t>(num_places) + 1;
    if (communicator_ == nullptr) {
        host_begins_.resize(num_begins);
        plan_.place_begin.download(host_begins_);
        return;
    }
    host_begins_.resize(num_begins * static_cast<std::size_t>(communicator_->size()));
    begins_.grow(host_begins_.size());
    communicator_->all_gather(plan_.place_begin.data(), num_begins * sizeof(std::int32_t),
                              begins_.data());
    begins_.download(host_begins_);
}

void ExpertExchange::run_everywhere(std::size_t num_rows,
                                    const ExpertPlaces& places,
                                    const float* normalized,
                                    std::span<const MlpWeights> experts) {
    const int here = communicator_->rank();
    const int num_devices = communicator_->size();
    const auto hidden = static_cast<std::size_t>(hidden_size_);
    const int first_place = places.begin()[here];
    const int num_here = places.begin()[here + 1] - first_place;
    const Grid<const std::int32_t, 2> begins(host_begins_, {num_devices, places.num_places() + 1});
    // where the rows for device `target` begin in what device `source` sends
    const auto begin_of = [&](int source, int target) {
        return begins(source, places.begin()[target]);
    };
    std::vector<std::int64_t> send_begin = {0};  // rows; below, their bytes
    std::vector<std::int64_t> receive_begin = {0};
    for (int d = 0; d < num_devices; ++d) {
        send_begin.push_back(begin_of(here, d + 1));
        receive_begin.push_back(receive_begin.back() + begin_of(d, here + 1) - begin_of(d, here));
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
    received_places_.grow(num_received);
    received_outputs_.grow(num_received * hidden);
    received_plan_.grow(num_here, num_received, false);
    backend_.gather_rows(plan_.source_rows.data(), static_cast<std::int64_t>(num_rows), row_bytes,
                         normalized, sent_.data());
    communicator_->exchange(plan_.row_places.data(), in_bytes(send_begin, sizeof(std::int32_t)),
                            received_places_.data(), in_bytes(receive_begin, sizeof(std::int32_t)));
    communicator_->exchange(sent_.data(), in_bytes(send_begin, row_bytes), received_.data(),
                            in_bytes(receive_begin, row_bytes));
    // rows arrive device after device; experts take them one after another
    backend_.plan_dispatch({.top_k = 1,
                            .num_places = num_here,
                            .first_place = first_place,
                            .num_tokens = static_cast<int>(num_received),
                            .place_ids = received_places_.data()},
                           received_plan_.arrays());
    std::vector<std::int32_t> begin_here(static_cast<std::size_t>(num_here) + 1);
    for (int place = 0; place < num_here; ++place) {
        begin_here[place + 1] = begin_here[place];
        for (int d = 0; d < num_devices; ++d)
            begin_here[place + 1] +=
                begins(d, first_place + place + 1) - begins(d, first_place + place);
    }

    backend_.begin_stage(Stage::experts);
    backend_.grouped_mlp(experts, begin_here, received_plan_.source_rows.data(), received_.data(),
                         received_outputs_.data());

    backend_.begin_stage(Stage::dispatch);
    // back in the order in which they came: received_ has been read and takes them
    backend_.gather_rows(received_plan_.rows.data(), static_cast<std::int64_t>(num_received),
                         row_bytes, received_outputs_.data(), received_.data());
    communicator_->exchange(received_.data(), in_bytes(receive_begin, row_bytes), outputs_.data(),
                            in_bytes(send_begin, row_bytes));
}

}  // namespace eplb
