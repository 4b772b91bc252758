#include "lib/collect/checkpoint_run.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/hash.h"

namespace eplb {
CheckpointRun::CheckpointRun(const DecoderConfig& config,
                             LayerReader& reader,
                             const TokenSchedule& schedule,
                             const Options& options,
                             Backend& backend)
    : config_(config),
      reader_(reader),
      schedule_(schedule),
      options_(options),
      decoder_(config, options.limits, backend, options.communicator),
      counter_(config.moe, options.ep_size, options.config),
      backend_(backend),
      hidden_(backend),
      position_of_row_(schedule.token_ids.size()) {
    shape_.num_experts = counter_.num_slots();
    shape_.top_k = config.moe.router.top_k;
    shape_.ep_size = options.ep_size;
    shape_.num_sources = options.ep_size;
    shape_.layers = config.moe.layers;
    shape_.iter_start = std::max(options.record_start, schedule.first_iteration);
    const std::int64_t iter_stop =
        schedule.first_iteration + static_cast<std::int64_t>(schedule.iterations.size());
    if (iter_stop <= shape_.iter_start)
        throw Error("the dataset has no token for iteration " + std::to_string(shape_.iter_start));
    shape_.num_iterations = static_cast<int>(iter_stop - shape_.iter_start);
    shape_.ids = options.config ? IdKind::slot : IdKind::expert;
    shape_.layer_updates_per_iter = options.config ? options.config->layer_updates_per_iter : 0;
    shape_.allocate();
    state_.counts.swap(shape_.counts);
    state_.fingerprint = make_fingerprint();
    deal_out_sequences();
}

int CheckpointRun::num_devices() const {
    return options_.communicator == nullptr ? 1 : options_.communicator->size();
}

int CheckpointRun::this_device() const {
    return options_.communicator == nullptr ? 0 : options_.communicator->rank();
}

// Each to the device that has the fewest tokens so far.
void CheckpointRun::deal_out_sequences() {
    std::vector<std::int64_t> num_tokens(num_devices());
    for (std::size_t s = 0; s + 1 < schedule_.sequence_begin.size(); ++s) {
        const auto device = std::min_element(num_tokens.begin(), num_tokens.end());
        *device += schedule_.sequence_begin[s + 1] - schedule_.sequence_begin[s];
        device_of_sequence_.push_back(static_cast<int>(device - num_tokens.begin()));
    }
}

// Tokens [begin[s], end[s]) of each sequence s.
CheckpointRun::Batch CheckpointRun::make_batch(const std::vector<std::int32_t>& begin,
                                               const std::vector<std::int32_t>& end) {
    Batch batch;
    std::int32_t position = 0;  // devices one after another
    for (int device = 0; device < num_devices(); ++device) {
        const std::int32_t first = position;
        for (std::size_t s = 0; s < begin.size(); ++s) {
            if (device_of_sequence_[s] != device || begin[s] == end[s])
                continue;
            const std::int32_t row = schedule_.sequence_begin[s];
            for (std::int32_t p = begin[s]; p < end[s]; ++p)
                position_of_row_[row + p] = position++;
            if (device != this_device())
                continue;
            batch.pieces.push_back({static_cast<std::int32_t>(s), begin[s], end[s] - begin[s],
                                    static_cast<std::int32_t>(batch.token_ids.size())});
            batch.token_ids.insert(batch.token_ids.end(),
                                   schedule_.token_ids.begin() + row + begin[s],
                                   schedule_.token_ids.begin() + row + end[s]);
        }
        batch.num_rows.push_back(position - first);
    }
    return batch;
}

bool CheckpointRun::is_recorded(std::size_t iteration) const {
    return schedule_.first_iteration + static_cast<std::int64_t>(iteration) >= shape_.iter_start;
}

std::span<std::int64_t> CheckpointRun::counts_row(std::size_t iteration, int moe_layer) {
    const auto recorded = static_cast<std::size_t>(
        schedule_.first_iteration + static_cast<std::int64_t>(iteration) - shape_.iter_start);
    const std::size_t size =
        static_cast<std::size_t>(options_.ep_size) * static_cast<std::size_t>(counter_.num_slots());
    return std::span(state_.counts)
        .subspan((recorded * shape_.layers.size() + static_cast<std::size_t>(moe_layer)) * size,
                 size);
}

std::string CheckpointRun::make_fingerprint() const {
    Hash hash;
    hash.add(schedule_.token_ids);
    hash.add(schedule_.sequence_begin);
    hash.add(schedule_.first_iteration);
    for (const TokenSchedule::Iteration& iteration : schedule_.iterations) {
        hash.add(iteration.rows);
        hash.add(iteration.rank_begin);
    }
    hash.add(options_.record_start);
    hash.add(options_.keep_ids ? 1 : 0);
    hash.add(config_.moe.layers);
    hash.add(config_.moe.hidden_size);
    hash.add(reader_.checkpoint().identity());
    if (options_.config) {
        hash.add(options_.config->num_slots);
        hash.add(options_.config->layer_updates_per_iter);
        for (const auto& [layer, expert_ids] : options_.config->initial_global_assignments) {
            hash.add(layer);
            hash.add(expert_ids);
        }
    }
    return config_.moe.name + " " + hash.text();
}

void CheckpointRun::resume(RunState state) {
    const std::size_t hidden_size = static_cast<std::size_t>(config_.moe.hidden_size);
    const auto num_done = static_cast<std::size_t>(
        std::lower_bound(config_.moe.layers.begin(), config_.moe.layers.end(), state.next_layer) -
        config_.moe.layers.begin());
    if (state.hidden.size() != schedule_.token_ids.size() * hidden_size ||
        state.counts.size() != state_.counts.size() || state.next_layer < 1 ||
        state.next_layer > config_.num_needed_layers() ||
        (options_.keep_ids && state.slot_ids.size() != num_done))
        throw Error("the state of the run does not fit it; run without --resume to begin anew");
    std::size_t num_ids = 0;
    for (std::size_t i = 0; i < schedule_.iterations.size(); ++i)
        if (options_.keep_ids && is_recorded(i))
            num_ids += schedule_.iterations[i].rows.size();
    num_ids *= static_cast<std::size_t>(config_.moe.router.top_k);
    for (const std::vector<std::int32_t>& ids : state.slot_ids)
        if (ids.size() != num_ids || std::any_of(ids.begin(), ids.end(), [&](std::int32_t id) {
                return id < 0 || id >= counter_.num_slots();
            }))
            throw Error("the state of the run is damaged; run without --resume to begin anew");
    state_ = std::move(state);
    hidden_.upload(state_.hidden);
    state_.hidden = {};
    saved_layer_ = state_.next_layer;
    num_routed_ = static_cast<std::int64_t>(num_done) * schedule_.num_rows();
}

void CheckpointRun::set_stop(const std::function<bool()>& stop) {
    stop_ = stop;
    // between exchanges much may be computed: others' failures are heard of there, too
    decoder_.set_stop([this] {
        if (options_.group != nullptr)
            options_.group->check();
        return stop_ && stop_();
    });
}

bool CheckpointRun::run() {
    // nothing is read, and nobody asked whether to stop, once the run is over
    struct EndOfReading {
        LayerReader& reader;
        ~EndOfReading() { reader.stop_reading(); }
    };
    const EndOfReading end = {reader_};
    try {
        return options_.iteration_major ? run_iterations() : run_layers();
    } catch (const Decoder::Interrupted&) {
        return false;
    }
}

void CheckpointRun::run_layer(int layer,
                              const LayerWeights& weights,
                              const Batch& batch,
                              KeyValueCache& cache,
                              float* hidden,
                              std::vector<std::int32_t>& expert_ids) {
    const auto num_rows = static_cast<int>(batch.token_ids.size());
    const std::size_t num_values =
        batch.token_ids.size() * static_cast<std::size_t>(config_.moe.hidden_size);
    decoder_.attend(weights.attention, layer, batch.pieces, cache, options_.iteration_major,
                    hidden);
    if (!config_.is_moe_layer(layer)) {
        decoder_.dense(weights, num_rows, hidden);
        expert_ids.clear();
    } else {
        expert_ids.resize(batch.token_ids.size() *
                          static_cast<std::size_t>(config_.moe.router.top_k));
        state_.num_near_ties += decoder_.experts(
            weights, num_rows, *std::max_element(batch.num_rows.begin(), batch.num_rows.end()),
            hidden, expert_ids.data());
        num_routed_ += num_rows;
    }
    if (!backend_.all_finite(hidden, static_cast<std::int64_t>(num_values)))
        throw Error(reader_.checkpoint().name() + ": the hidden states after layer " +
                    std::to_string(layer) +
                    " are no finite numbers; its weights are damaged, download them again");
    if (observer_) {
        const HostView<float> view(backend_, hidden, num_values);
        observer_({layer, view.values(), expert_ids});
    }
    if (layer_done_)
        layer_done_(layer);
    if (config_.is_moe_layer(layer))
        gather_ids(batch, expert_ids);
}

// This device's ids become those of all devices, in their order.
void CheckpointRun::gather_ids(const Batch& batch, std::vector<std::int32_t>& expert_ids) const {
    if (options_.group == nullptr)
        return;
    const std::vector<std::string> parts =
        options_.group->all_gather({reinterpret_cast<const char*>(expert_ids.data()),
                                    expert_ids.size() * sizeof(expert_ids[0])});
    std::size_t num_rows = 0;
    for (const int rows : batch.num_rows)
        num_rows += static_cast<std::size_t>(rows);
    expert_ids.resize(num_rows * static_cast<std::size_t>(config_.moe.router.top_k));
    auto* to = reinterpret_cast<char*>(expert_ids.data());
    for (const std::string& part : parts)
        to = std::copy(part.begin(), part.end(), to);
}

// Of some of the schedule's rows, in their order; expert_ids as gather_ids() leaves them.
std::vector<std::int32_t> CheckpointRun::ids_of(const std::vector<std::int32_t>& rows,
                                                const std::vector<std::int32_t>& expert_ids) const {
    const std::ptrdiff_t top_k = config_.moe.router.top_k;
    std::vector<std::int32_t> ids;
    ids.reserve(rows.size() * static_cast<std::size_t>(top_k));
    for (const std::int32_t row : rows) {
        const auto first = expert_ids.begin() + position_of_row_[row] * top_k;
        ids.insert(ids.end(), first, first + top_k);
    }
    return ids;
}

// What was counted by device.
void CheckpointRun::add_up_devices() {
    if (options_.group == nullptr)
        return;
    const std::int64_t here[] = {num_routed_, state_.num_near_ties};
    num_routed_ = state_.num_near_ties = 0;
    for (const std::string& part :
         options_.group->all_gather({reinterpret_cast<const char*>(here), sizeof(here)})) {
        std::int64_t numbers[2];
        std::memcpy(numbers, part.data(), sizeof(numbers));
        num_routed_ += numbers[0];
        state_.num_near_ties += numbers[1];
    }
}

// ids: of the iteration's tokens, rank after rank
void CheckpointRun::count(int moe_layer, std::size_t iteration, std::vector<std::int32_t> ids) {
    const std::vector<std::int32_t>& rank_begin = schedule_.iterations[iteration].rank_begin;
    std::vector<std::int64_t> ignored;
    std::span<std::int64_t> counts;
    if (is_recorded(iteration)) {
        counts = counts_row(iteration, moe_layer);
    } else {
        ignored.resize(static_cast<std::size_t>(options_.ep_size) *
                       static_cast<std::size_t>(counter_.num_slots()));
        counts = ignored;
    }
    const std::int64_t moved = counter_.num_moved_slots();
    counter_.count(schedule_.first_iteration + static_cast<std::int64_t>(iteration), moe_layer,
                   rank_begin, ids, counts);
    state_.num_moved_slots += counter_.num_moved_slots() - moved;
    if (!options_.keep_ids || !is_recorded(iteration))
        return;
    state_.slot_ids.resize(
        std::max(state_.slot_ids.size(), static_cast<std::size_t>(moe_layer) + 1));
    std::vector<std::int32_t>& kept = state_.slot_ids[moe_layer];
    kept.insert(kept.end(), ids.begin(), ids.end());
}

// what cannot be saved now may be at the next layer; the run itself is whole
void CheckpointRun::save_state() {
    try {
        const HostView<float> hidden(backend_, hidden_.data(),
                                     static_cast<std::size_t>(schedule_.num_rows()) *
                                         static_cast<std::size_t>(config_.moe.hidden_size));
        state_file_->save(state_, hidden.values());
        saved_layer_ = state_.next_layer;
    } catch (const Error& error) {
        if (!state_failed_)
            throw;
        state_failed_(error.what());
    }
}

bool CheckpointRun::run_layers() {
    const int num_layers = config_.num_needed_layers();
    std::vector<std::int32_t> lengths;
    for (std::size_t s = 0; s + 1 < schedule_.sequence_begin.size(); ++s)
        lengths.push_back(schedule_.sequence_begin[s + 1] - schedule_.sequence_begin[s]);
    const Batch batch = make_batch(std::vector<std::int32_t>(lengths.size()), lengths);
    if (state_.next_layer == 0) {
        hidden_.grow(batch.token_ids.size() * static_cast<std::size_t>(config_.moe.hidden_size));
        {
            const HeldWeights held(backend_, reader_.embedding_parts());
            decoder_.embed(reader_.embedding(), batch.token_ids, hidden_.data());
        }
        reader_.drop_embedding();
    }
    KeyValueCache cache(schedule_.num_sequences(), backend_);
    std::vector<std::int32_t> expert_ids;
    // this layer's and the next one's weights, on their way to the device
    std::optional<HeldWeights> held;
    std::optional<HeldWeights> held_next;
    const auto start = [&](int layer) {
        reader_.start_reading(layer, stop_);
        held_next.emplace(backend_, reader_.parts(layer));
    };
    if (state_.next_layer < num_layers)
        start(state_.next_layer);
    while (state_.next_layer < num_layers) {
        const int layer = state_.next_layer;
        {
            const LayerWeights weights = reader_.load(layer);
            const HeldWeights vectors(backend_, vector_parts(weights));
            held = std::exchange(held_next, std::nullopt);
            if (layer + 1 < num_layers)
                start(layer + 1);
            run_layer(layer, weights, batch, cache, hidden_.data(), expert_ids);
            held.reset();
        }
        reader_.drop(layer);
        if (config_.is_moe_layer(layer)) {
            const auto moe_layer = static_cast<int>(
                std::lower_bound(shape_.layers.begin(), shape_.layers.end(), layer) -
                shape_.layers.begin());
            for (std::size_t i = 0; i < schedule_.iterations.size(); ++i)
                count(moe_layer, i, ids_of(schedule_.iterations[i].rows, expert_ids));
        }
        ++state_.next_layer;
        if (state_file_ != nullptr && state_.next_layer < num_layers)
            save_state();
    }
    num_recorded_ = shape_.num_iterations;
    add_up_devices();
    return true;
}

bool CheckpointRun::run_iterations() {
    const int num_layers = config_.num_needed_layers();
    std::vector<LayerWeights> layers;
    std::vector<KeyValueCache> caches;
    std::vector<HeldWeights> held;
    held.emplace_back(backend_, reader_.embedding_parts());
    for (int layer = 0; layer < num_layers; ++layer) {
        held.emplace_back(backend_, reader_.parts(layer));
        layers.push_back(reader_.load(layer));
        held.emplace_back(backend_, vector_parts(layers.back()));
        caches.emplace_back(schedule_.num_sequences(), backend_);
    }
    // how far each sequence has come, and which sequence a row belongs to
    std::vector<std::int32_t> num_done(schedule_.num_sequences());
    std::vector<std::int32_t> sequence_of(schedule_.token_ids.size());
    for (std::size_t s = 0; s < num_done.size(); ++s)
        std::fill(sequence_of.begin() + schedule_.sequence_begin[s],
                  sequence_of.begin() + schedule_.sequence_begin[s + 1],
                  static_cast<std::int32_t>(s));

    std::vector<std::int32_t> expert_ids;
    for (std::size_t i = 0; i < schedule_.iterations.size(); ++i) {
        // tokens of this iteration, and those before them that no iteration counts
        const std::vector<std::int32_t>& rows = schedule_.iterations[i].rows;
        std::vector<std::int32_t> needed = num_done;
        for (const std::int32_t row : rows) {
            const auto s = static_cast<std::size_t>(sequence_of[row]);
            needed[s] = std::max(needed[s], row + 1 - schedule_.sequence_begin[s]);
        }
        const Batch batch = make_batch(num_done, needed);
        num_done = needed;
        hidden_.grow(batch.token_ids.size() * static_cast<std::size_t>(config_.moe.hidden_size));
        decoder_.embed(reader_.embedding(), batch.token_ids, hidden_.data());
        int moe_layer = 0;
        for (int layer = 0; layer < num_layers; ++layer) {
            const auto at = static_cast<std::size_t>(layer);
            run_layer(layer, layers[at], batch, caches[at], hidden_.data(), expert_ids);
            if (config_.is_moe_layer(layer))
                count(moe_layer++, i, ids_of(rows, expert_ids));
        }
        if (is_recorded(i))
            ++num_recorded_;
    }
    add_up_devices();
    return true;
}

ExpertStatistics CheckpointRun::take_statistics() {
    ExpertStatistics statistics = shape_;
    statistics.num_iterations = num_recorded_;
    statistics.counts = std::move(state_.counts);
    statistics.counts.resize(statistics.counts.size() /
                             static_cast<std::size_t>(shape_.num_iterations) *
                             static_cast<std::size_t>(num_recorded_));
    return statistics;
}

RoutedIds CheckpointRun::take_routed_ids() {
    RoutedIds routed;
    routed.top_k = shape_.top_k;
    routed.ep_size = shape_.ep_size;
    routed.layers = shape_.layers;
    routed.iter_start = shape_.iter_start;
    routed.num_iterations = num_recorded_;
    std::vector<std::ptrdiff_t> taken(shape_.layers.size());
    const std::size_t first =
        schedule_.iterations.size() - static_cast<std::size_t>(shape_.num_iterations);
    for (std::size_t i = first; i < first + static_cast<std::size_t>(num_recorded_); ++i) {
        const std::vector<std::int32_t>& rank_begin = schedule_.iterations[i].rank_begin;
        for (std::size_t layer = 0; layer < shape_.layers.size(); ++layer)
            for (std::size_t rank = 0; rank + 1 < rank_begin.size(); ++rank) {
                const auto begin = state_.slot_ids[layer].begin() + taken[layer];
                const std::ptrdiff_t size =
                    std::ptrdiff_t{rank_begin[rank + 1] - rank_begin[rank]} * shape_.top_k;
                routed.ids.emplace_back(begin, begin + size);
                taken[layer] += size;
            }
    }
    return routed;
}

}  // namespace eplb
