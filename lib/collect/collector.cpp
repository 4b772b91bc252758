#include "lib/collect/collector.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/grid.h"
#include "lib/base/hash.h"
#include "lib/base/setting.h"
#include "lib/collect/stages.h"

namespace eplb {

Collector::Collector(LayerSource& source,
                     const ExpertLayout& layout,
                     const Options& options,
                     Backend& backend)
    : source_(source),
      config_(source.config()),
      layout_(layout),
      options_(options),
      backend_(backend),
      first_rank_((options.group == nullptr ? 0 : options.group->rank()) * layout.ep_size /
                  layout.num_devices),
      num_ranks_(layout.ep_size / layout.num_devices),
      decoder_(config_, options.limits, backend, options.communicator),
      counter_(layout, config_.moe.router.num_experts, config_.moe.router.top_k, first_rank_),
      hidden_(backend),
      expert_ids_(backend),
      margins_(backend),
      place_ids_(backend) {}

void Collector::set_stop(std::function<bool()> stop) {
    stop_ = std::move(stop);
    if (options_.order == LoopOrder::by_iteration)
        return;
    // between exchanges much may be computed: others' failures are heard of there, too
    decoder_.set_stop([this] {
        if (options_.group != nullptr)
            options_.group->check();
        return stop_ && stop_();
    });
}

// The same answer at every device.
bool Collector::is_stopped() {
    const bool here = stop_ && stop_();
    if (options_.group == nullptr)
        return here;
    const std::vector<std::string> answers = options_.group->all_gather(here ? "1" : "0");
    return std::count(answers.begin(), answers.end(), "1") > 0;
}

ExpertStatistics Collector::shape() const {
    ExpertStatistics shape;
    shape.num_experts = layout_.num_slots;
    shape.top_k = config_.moe.router.top_k;
    shape.ep_size = layout_.ep_size;
    shape.num_sources = num_ranks_;
    shape.layers = config_.moe.layers;
    shape.ids = layout_.has_config ? IdKind::slot : IdKind::expert;
    shape.layer_updates_per_iter = layout_.layer_updates_per_iter;
    return shape;
}

std::string Collector::fingerprint(const TokenSchedule& schedule) const {
    Hash hash;
    hash.add(schedule.token_ids);
    hash.add(schedule.sequence_begin);
    hash.add(schedule.first_iteration);
    for (const TokenSchedule::Iteration& iteration : schedule.iterations) {
        hash.add(iteration.rows);
        hash.add(iteration.rank_begin);
    }
    hash.add(options_.keep_ids ? 1 : 0);
    hash.add(config_.moe.layers);
    hash.add(config_.moe.hidden_size);
    hash.add(source_.identity());
    hash.add(layout_.has_config ? 1 : 0);
    hash.add(layout_.layer_updates_per_iter);
    for (const Placement& placement : layout_.placements)
        hash.add(placement.expert_ids);
    return config_.moe.name + " " + hash.text();
}

void Collector::resume(RunState state, const TokenSchedule& schedule) {
    const int num_done = config_.moe.position(state.next_layer);
    const std::size_t hidden_size = static_cast<std::size_t>(config_.moe.hidden_size);
    const auto num_iterations = static_cast<int>(schedule.iterations.size());
    if (state.hidden.size() != schedule.token_ids.size() * hidden_size ||
        state.counts.size() !=
            Grid<std::int64_t, 4>::num_values(
                {num_iterations, config_.moe.num_layers(), num_ranks_, layout_.num_slots}) ||
        state.next_layer < 1 || state.next_layer > source_.layers().back() + 1 ||
        (options_.keep_ids && std::ssize(state.slot_ids) != num_done))
        throw Error("the state of the run does not fit it; run without " + setting("resume") +
                    " to begin anew");
    std::size_t num_ids = 0;
    for (const TokenSchedule::Iteration& iteration : schedule.iterations)
        num_ids += iteration.rows.size() * static_cast<std::size_t>(config_.moe.router.top_k);
    for (const std::vector<std::int32_t>& ids : state.slot_ids)
        if (ids.size() != num_ids || std::any_of(ids.begin(), ids.end(), [&](std::int32_t id) {
                return id < 0 || id >= layout_.num_slots;
            }))
            throw Error("the state of the run is damaged; run without " + setting("resume") +
                        " to begin anew");
    state_ = std::move(state);
    saved_layer_ = state_.next_layer;
    num_routed_ = std::int64_t{num_done} * schedule.num_rows();
}

bool Collector::run(const TokenSchedule& schedule,
                    const std::function<void(BatchCounts&)>& counted) {
    Batches batches(schedule, first_rank_ / num_ranks_, num_ranks_, options_.order);
    caches_.clear();
    const std::size_t num_caches =
        options_.order == LoopOrder::by_layer ? 1 : source_.layers().size();
    for (std::size_t i = 0; i < num_caches && config_.attention.num_heads > 0; ++i)
        caches_.emplace_back(schedule.num_sequences(), backend_);
    if (state_file_ != nullptr)
        state_.fingerprint = fingerprint(schedule);
    Batch batch;
    while (batches.next(batch)) {
        grow_host_buffers(batch);
        if (is_stopped())
            return false;
        try {
            begin_batch(batch);
            run_batch(batch);
        } catch (const Decoder::Interrupted&) {
            return false;
        }
        backend_.begin_stage(Stage::count);
        BatchCounts counts = take_counts(batch);
        counted(counts);
        backend_.begin_stage(Stage::embed);  // of the next tokens
    }
    return true;
}

// Before the devices agree to go on: getting such memory may wait for all GPUs of a process, and
// none of them may then be waiting for this one.
void Collector::grow_host_buffers(const Batch& batch) {
    expert_ids_.grow(num_ids(batch));
    margins_.grow(batch.token_ids.size());
}

void Collector::begin_batch(const Batch& batch) {
    hidden_.grow(static_cast<std::size_t>(batch.num_rows()) *
                 static_cast<std::size_t>(config_.moe.hidden_size));
    if (state_.next_layer > 0) {  // resumed
        hidden_.upload(std::exchange(state_.hidden, {}));
        return;
    }
    state_.counts.assign(Grid<std::int64_t, 4>::num_values(
                             {static_cast<int>(batch.iterations.size()), config_.moe.num_layers(),
                              num_ranks_, layout_.num_slots}),
                         0);
    backend_.begin_stage(Stage::embed);
    source_.embed(batch, hidden_.data());
}

void Collector::run_batch(const Batch& batch) {
    const std::vector<int>& layers = source_.layers();
    for (const int layer : layers) {
        if (layer < state_.next_layer)
            continue;
        run_layer(layer, source_.load(layer), batch);
        source_.release(layer);
        if (config_.is_moe_layer(layer) && counter_.cycle_length())
            rebalance(config_.moe.position(layer), batch,
                      static_cast<int>(batch.iterations.size()) - 1);
        state_.next_layer = layer + 1;
        if (layer_done_)
            layer_done_(layer);
        if (state_file_ != nullptr && layer != layers.back())
            save_state(batch);
    }
}

void Collector::run_layer(int layer, const LayerWeights& weights, const Batch& batch) {
    const std::size_t num_values = static_cast<std::size_t>(batch.num_rows()) *
                                   static_cast<std::size_t>(config_.moe.hidden_size);
    std::vector<float> input;
    if (observer_) {
        const HostView<float> hidden(backend_, hidden_.data(), num_values);
        input.assign(hidden.values().begin(), hidden.values().end());
    }
    const bool is_kept = options_.order == LoopOrder::by_iteration;
    if (!weights.attention.norm.empty())
        decoder_.attend(weights.attention, layer, batch.pieces, caches_[is_kept ? layer : 0],
                        is_kept, hidden_.data());
    const bool is_moe = config_.is_moe_layer(layer);
    if (is_moe)
        run_experts(config_.moe.position(layer), weights, batch);
    else
        decoder_.dense(weights, batch.num_rows(), hidden_.data());
    // a wait, which a run by layer does not notice; a layer that only routes has waited
    if ((!is_kept || weights.routes_only) &&
        !backend_.all_finite(hidden_.data(), static_cast<std::int64_t>(num_values)))
        throw Error(source_.name() + ": the hidden states after layer " + std::to_string(layer) +
                    " are no finite numbers; its weights are damaged, download them again");
    if (observer_) {
        const HostView<float> output(backend_, hidden_.data(), num_values);
        observer_({layer, input, output.values(),
                   is_moe ? expert_ids_.first(num_ids(batch)) : std::span<std::int32_t>()});
    }
}

std::size_t Collector::num_ids(const Batch& batch) const {
    return batch.token_ids.size() * static_cast<std::size_t>(config_.moe.router.top_k);
}

void Collector::run_experts(int moe_layer, const LayerWeights& weights, const Batch& batch) {
    const ExpertPlaces& places = layout_.places[moe_layer];
    const int num_rows = batch.num_rows();
    decoder_.route(weights, num_rows, hidden_.data());
    expert_ids_.start_download(decoder_.routed().expert_ids, num_ids(batch));
    margins_.start_download(decoder_.routed().margins, batch.token_ids.size());
    if (weights.routes_only) {
        backend_.synchronize();
        count(moe_layer, batch, {});
    } else if (places.are_experts()) {
        decoder_.experts(weights, places, decoder_.routed().expert_ids.data(), num_rows,
                         batch.most_rows, hidden_.data());
        count(moe_layer, batch, {});  // while the device computes
    } else {
        backend_.synchronize();
        std::vector<std::int32_t> place_ids;
        for (const std::int32_t expert : expert_ids_.first(num_ids(batch)))
            place_ids.push_back(places.place_of_expert(expert));
        count(moe_layer, batch, place_ids);
        place_ids_.upload(place_ids);
        decoder_.experts(weights, places, place_ids_.data(), num_rows, batch.most_rows,
                         hidden_.data());
    }
}

// Counts what the rows were routed to, iteration by iteration. place_ids, unless empty, become
// those of the rows' slots.
void Collector::count(int moe_layer, const Batch& batch, std::span<std::int32_t> place_ids) {
    backend_.begin_stage(Stage::count);
    const int top_k = config_.moe.router.top_k;
    const auto num_iterations = static_cast<int>(batch.iterations.size());
    const Grid<const std::int32_t, 2> experts(expert_ids_.first(num_ids(batch)),
                                              {batch.num_rows(), top_k});
    const std::span<const float> margins = margins_.first(batch.token_ids.size());
    state_.num_near_ties += std::count_if(margins.begin(), margins.end(),
                                          [](float margin) { return margin <= Decoder::kNearTie; });
    num_routed_ += batch.num_rows();
    const Grid<std::int64_t, 3> counts(
        state_.counts, {num_iterations, config_.moe.num_layers(), num_ranks_ * layout_.num_slots});
    if (counter_.cycle_length())
        count_experts(batch);
    if (options_.keep_ids)
        state_.slot_ids.emplace_back();
    std::vector<std::int32_t> ids;
    for (int i = 0; i < num_iterations; ++i) {
        const Batch::Iteration& iteration = batch.iterations[i];
        ids.resize(iteration.rows.size() * static_cast<std::size_t>(top_k));
        auto to = ids.begin();
        for (const std::int32_t row : iteration.rows)
            to = std::copy_n(experts.row(row).begin(), top_k, to);
        counter_.count(moe_layer, iteration.rank_begin, ids, counts.row(i, moe_layer));
        if (options_.keep_ids)
            state_.slot_ids.back().insert(state_.slot_ids.back().end(), ids.begin(), ids.end());
        for (std::size_t token = 0; !place_ids.empty() && token < iteration.rows.size(); ++token)
            for (int j = 0; j < top_k; ++j)
                place_ids[std::int64_t{iteration.rows[token]} * top_k + j] =
                    layout_.places[moe_layer].place_of_slot(
                        ids[static_cast<std::int64_t>(token) * top_k + j]);
        // after the last one: once its experts have been computed
        if (counter_.cycle_length() && i + 1 < num_iterations)
            rebalance(moe_layer, batch, i);
    }
}

// expert_counts_ of the layer at hand.
void Collector::count_experts(const Batch& batch) {
    const int num_experts = config_.moe.router.num_experts;
    const auto num_iterations = static_cast<int>(batch.iterations.size());
    const Grid<const std::int32_t, 2> experts(expert_ids_.first(num_ids(batch)),
                                              {batch.num_rows(), config_.moe.router.top_k});
    expert_counts_.assign(Grid<std::int64_t, 2>::num_values({num_iterations, num_experts}), 0);
    const Grid<std::int64_t, 2> counts(expert_counts_, {num_iterations, num_experts});
    for (int i = 0; i < num_iterations; ++i)
        for (const std::int32_t row : batch.iterations[i].rows)
            for (const std::int32_t expert : experts.row(row))
                ++counts(i, expert);
    sum_over_devices(expert_counts_);
}

void Collector::rebalance(int moe_layer, const Batch& batch, int iteration) {
    const int num_experts = config_.moe.router.num_experts;
    const Grid<const std::int64_t, 2> counts(
        expert_counts_, {static_cast<int>(batch.iterations.size()), num_experts});
    const int num_moved =
        counter_.rebalance(batch.iterations[iteration].id, moe_layer, counts.row(iteration));
    state_.num_moved_slots += num_moved;
    if (num_moved == 0 || layout_.num_devices == 1 || options_.order == LoopOrder::by_layer)
        return;
    backend_.begin_stage(Stage::move_weights);
    ExpertPlaces next(counter_.placement(moe_layer), num_experts, layout_.num_devices);
    source_.move_experts(config_.moe.layers[moe_layer], layout_.places[moe_layer], next);
    layout_.places[moe_layer] = std::move(next);
}

// What cannot be saved now may be at the next layer; the run itself is whole.
void Collector::save_state(const Batch& batch) {
    try {
        const HostView<float> hidden(backend_, hidden_.data(),
                                     static_cast<std::size_t>(batch.num_rows()) *
                                         static_cast<std::size_t>(config_.moe.hidden_size));
        state_file_->save(state_, hidden.values());
        saved_layer_ = state_.next_layer;
    } catch (const Error& error) {
        state_failed_(error.what());
    }
}

void Collector::sum_over_devices(std::span<std::int64_t> values) {
    if (options_.communicator == nullptr)
        return;
    DeviceBuffer<std::int64_t> here(backend_);
    here.upload(values);
    DeviceBuffer<std::int64_t> everywhere(backend_);
    std::vector<std::int64_t> gathered(values.size() *
                                       static_cast<std::size_t>(layout_.num_devices));
    everywhere.grow(gathered.size());
    options_.communicator->all_gather(here.data(), values.size_bytes(), everywhere.data());
    everywhere.download(gathered);
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = 0;
        for (std::size_t j = i; j < gathered.size(); j += values.size())
            values[i] += gathered[j];
    }
}

BatchCounts Collector::take_counts(const Batch& batch) {
    const auto num_iterations = static_cast<int>(batch.iterations.size());
    const int num_layers = config_.moe.num_layers();
    const int num_slots = layout_.num_slots;
    BatchCounts taken;
    taken.statistics = shape();
    taken.statistics.iter_start = batch.iterations.front().id;
    taken.statistics.num_iterations = num_iterations;
    taken.statistics.counts = std::move(state_.counts);
    taken.slot_totals.assign(
        Grid<std::int64_t, 3>::num_values({num_iterations, num_layers, num_slots}), 0);
    const Grid<std::int64_t, 3> totals(taken.slot_totals, {num_iterations, num_layers, num_slots});
    for (int i = 0; i < num_iterations; ++i) {
        for (int layer = 0; layer < num_layers; ++layer)
            for (int rank = 0; rank < num_ranks_; ++rank) {
                const auto row = taken.statistics.row(i, layer, rank);
                for (int slot = 0; slot < num_slots; ++slot)
                    totals(i, layer, slot) += row[slot];
            }
        sum_over_devices(totals.row(i));
    }
    if (options_.keep_ids)
        taken.routed = routed_ids(batch);
    std::int64_t sums[] = {std::exchange(num_routed_, 0), state_.num_near_ties};
    sum_over_devices(sums);
    taken.num_routed = sums[0];
    taken.num_near_ties = sums[1];
    taken.num_moved_slots = state_.num_moved_slots;
    state_ = {};
    return taken;
}

// Of the layers, each iteration after iteration, into cells of their own.
RoutedIds Collector::routed_ids(const Batch& batch) const {
    RoutedIds routed;
    routed.top_k = config_.moe.router.top_k;
    routed.ep_size = num_ranks_;
    routed.layers = config_.moe.layers;
    routed.iter_start = batch.iterations.front().id;
    routed.num_iterations = static_cast<int>(batch.iterations.size());
    std::vector<std::ptrdiff_t> taken(routed.layers.size());
    for (const Batch::Iteration& iteration : batch.iterations)
        for (std::size_t layer = 0; layer < routed.layers.size(); ++layer)
            for (int rank = 0; rank < num_ranks_; ++rank) {
                const auto begin = state_.slot_ids[layer].begin() + taken[layer];
                const std::ptrdiff_t size =
                    std::ptrdiff_t{iteration.rank_begin[rank + 1] - iteration.rank_begin[rank]} *
                    routed.top_k;
                routed.ids.emplace_back(begin, begin + size);
                taken[layer] += size;
            }
    return routed;
}

}  // namespace eplb
