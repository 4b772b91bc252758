#include "lib/collect/harness.h"

#include <algorithm>
#include <cassert>
#include <string>

#include "lib/base/error.h"
#include "lib/collect/initial_placement.h"
#include "lib/placement/route/load_summary.h"

namespace eplb {
namespace {

int num_devices(const Harness::Options& options) {
    return options.communicator == nullptr ? 1 : options.communicator->size();
}

// [num_devices + 1], the slots of each device
std::vector<int> slots_of_devices(int num_slots, int num_devices) {
    std::vector<int> begin;
    for (int device = 0; device <= num_devices; ++device)
        begin.push_back(num_slots / num_devices * device);
    return begin;
}

template <typename T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
    return std::as_bytes(std::span(values));
}

HeldWeights::Parts router_parts(const SyntheticModel& model) {
    HeldWeights::Parts parts;
    for (int layer = 0; layer < model.config().num_layers(); ++layer) {
        const RouterWeights& router = model.router(layer);
        parts.push_back(bytes_of(router.norm));
        parts.push_back(bytes_of(router.weight));
        if (!router.bias.empty())
            parts.push_back(bytes_of(router.bias));
    }
    return parts;
}

}  // namespace

std::vector<double> IterationCounts::rank_imbalance() const {
    std::vector<double> imbalance;
    for (int layer = 0; layer < num_layers; ++layer) {
        const auto first = slot_totals.begin() + static_cast<std::ptrdiff_t>(layer) * num_slots;
        const LayerLoad slots = {1, num_slots, {first, first + num_slots}};
        imbalance.push_back(summarize(rank_load(slots, ep_size)).imbalance_ratio);
    }
    return imbalance;
}

Harness::Harness(const SyntheticModel& model,
                 const Options& options,
                 Backend& backend,
                 ThreadPool& threads)
    : model_(model),
      options_(options),
      backend_(backend),
      threads_(threads),
      num_slots_(options.config ? options.config->num_slots : model.config().router.num_experts),
      router_weights_(backend, router_parts(model)),
      exchange_(slots_of_devices(num_slots_, num_devices(options)),
                model.config().hidden_size,
                model.config().router.top_k,
                backend,
                options.communicator),
      device_rank_begin_(backend),
      device_counts_(backend),
      hidden_(backend),
      normalized_(backend),
      expert_ids_(backend),
      slot_ids_(backend),
      weights_(backend),
      chunk_tokens_(backend),
      shared_output_(backend) {
    const MoeModelConfig& config = model.config();
    check_deployment(config, options.ep_size, options.config);
    if (options.ep_size % num_devices(options) != 0)
        throw Error("--ep_size " + std::to_string(options.ep_size) + " cannot be dealt out to " +
                    std::to_string(num_devices(options)) + " devices; start as many as divide it");
    for (int layer = 0; layer < config.num_layers(); ++layer) {
        slots_.emplace_back(model, layer,
                            initial_placement(config, layer, options.ep_size, options.config),
                            backend, options.communicator, threads);
        if (config.shared_intermediate_size > 0) {
            std::vector<float> weights(model.shared_shape().num_weights());
            model.make_shared_expert(layer, weights);
            shared_experts_.emplace_back(backend).upload(weights);
        }
    }
    if (options.config && options.config->layer_updates_per_iter > 0)
        balancer_.emplace(config.num_layers(), config.router.num_experts, options.ep_size,
                          num_slots_ / options.ep_size, options.config->layer_updates_per_iter);
    num_ranks_ = options.ep_size / num_devices(options);
    first_rank_ = options.communicator == nullptr ? 0 : options.communicator->rank() * num_ranks_;
    for (IterationCounts& counts : counts_) {
        counts.num_layers = config.num_layers();
        counts.ep_size = options.ep_size;
        counts.num_slots = num_slots_;
        counts.first_rank = first_rank_;
        counts.num_ranks = num_ranks_;
    }
}

std::size_t Harness::expert_bytes() const {
    return model_.expert_shape().num_weights() * sizeof(float);
}

std::span<std::int64_t> Harness::slot_totals(int layer) {
    const auto size = static_cast<std::size_t>(num_slots_);
    return std::span(current().slot_totals).subspan(static_cast<std::size_t>(layer) * size, size);
}

void Harness::start_iteration(const IterationTokens& tokens) {
    const MoeModelConfig& config = model_.config();
    const auto hidden_size = static_cast<std::size_t>(config.hidden_size);
    backend_.begin_stage(Stage::embed);
    const auto first = static_cast<std::size_t>(first_rank_);
    const auto num_ranks = static_cast<std::size_t>(num_ranks_);
    const auto begin = static_cast<std::size_t>(tokens.rank_begin[first]);
    rank_begin_.clear();
    for (std::size_t rank = 0; rank <= num_ranks; ++rank)
        rank_begin_.push_back(tokens.rank_begin[first + rank] - static_cast<std::int32_t>(begin));
    embedded_.resize(static_cast<std::size_t>(rank_begin_.back()) * hidden_size);
    threads_.for_each(num_ranks_, [&](std::int64_t rank) {
        const auto from = static_cast<std::size_t>(rank_begin_[rank]);
        const auto to = static_cast<std::size_t>(rank_begin_[static_cast<std::size_t>(rank) + 1]);
        model_.embed(std::span(tokens.token_ids).subspan(begin + from, to - from),
                     std::span(embedded_).subspan(from * hidden_size, (to - from) * hidden_size));
    });

    const auto num_tokens = static_cast<std::size_t>(rank_begin_.back());
    const std::size_t num_ids = num_tokens * static_cast<std::size_t>(config.router.top_k);
    const std::size_t num_counts =
        config.layers.size() * num_ranks * static_cast<std::size_t>(num_slots_);
    bool has_moved = rank_begin_.back() != num_tokens_;
    num_tokens_ = rank_begin_.back();
    has_moved |= hidden_.grow(num_tokens * hidden_size);
    has_moved |= normalized_.grow(num_tokens * hidden_size);
    has_moved |= expert_ids_.grow(num_ids);
    has_moved |= options_.config && slot_ids_.grow(num_ids);
    has_moved |= weights_.grow(num_ids);
    has_moved |= device_rank_begin_.grow(num_ranks + 1);
    has_moved |= device_counts_.grow(num_counts);
    if (has_moved)
        backend_.forget_replays();
    hidden_.upload(embedded_);
    device_rank_begin_.upload(rank_begin_);
    backend_.fill_zero(device_counts_.data(), num_counts * sizeof(std::int32_t));
    current().slot_totals.assign(config.layers.size() * static_cast<std::size_t>(num_slots_), 0);
    current().slot_ids.clear();
    current().num_moved_slots = 0;
}

const IterationCounts& Harness::run(std::int64_t iteration,
                                    const IterationTokens& tokens,
                                    const LayerObserver& observer) {
    start(iteration, tokens, observer);
    return finish();
}

void Harness::start(std::int64_t iteration,
                    const IterationTokens& tokens,
                    const LayerObserver& observer) {
    assert(num_started_ - num_finished_ < 2);
    const MoeModelConfig& config = model_.config();
    start_iteration(tokens);
    const int chunks = num_chunks(tokens.num_tokens(), options_.max_num_tokens);
    const auto num_values =
        static_cast<std::size_t>(num_tokens_) * static_cast<std::size_t>(config.hidden_size);
    const auto num_ids =
        static_cast<std::size_t>(num_tokens_) * static_cast<std::size_t>(config.router.top_k);
    std::vector<float> input;
    std::vector<std::int32_t> chunk_tokens;
    for (int layer = 0; layer < config.num_layers(); ++layer) {
        if (observer) {
            const HostView<float> hidden(backend_, hidden_.data(), num_values);
            input.assign(hidden.values().begin(), hidden.values().end());
        }
        route_layer(layer);
        for (int chunk = 0; chunk < chunks; ++chunk) {
            chunk_tokens.clear();
            for (std::size_t rank = 0; chunks > 1 && rank + 1 < rank_begin_.size(); ++rank) {
                const std::int32_t begin = rank_begin_[rank];
                const TokenRange range = chunk_of(rank_begin_[rank + 1] - begin, chunks, chunk);
                for (std::int32_t token = range.begin; token < range.end; ++token)
                    chunk_tokens.push_back(begin + token);
            }
            compute_chunk(layer, chunks > 1 ? &chunk_tokens : nullptr);
        }
        if (observer) {
            const HostView<float> hidden(backend_, hidden_.data(), num_values);
            const HostView<std::int32_t> ids(backend_, expert_ids_.data(), num_ids);
            observer({layer, input, hidden.values(), ids.values()});
        }
        if (balancer_)
            balance_layer(iteration, layer);
    }
    if (options_.count)
        downloads_[num_started_ % 2] = backend_.start_download(
            device_counts_.data(), current().slot_totals.size() *
                                       static_cast<std::size_t>(num_ranks_) * sizeof(std::int32_t));
    ++num_started_;
}

const IterationCounts& Harness::finish() {
    assert(num_finished_ < num_started_);
    const std::size_t turn = num_finished_ % 2;
    ++num_finished_;
    IterationCounts& finished = counts_[turn];
    if (options_.count) {
        const std::span<const std::byte> bytes = backend_.finish_download(downloads_[turn]);
        const auto* const counts = reinterpret_cast<const std::int32_t*>(bytes.data());
        finished.counts.assign(counts, counts + bytes.size() / sizeof(std::int32_t));
    }
    return finished;
}

// Nothing here waits for the device, and counting is part of what it does anyway.
void Harness::route_layer(int layer) {
    backend_.begin_stage(Stage::route);
    const RouterWeights& router = model_.router(layer);
    const RouterSpec& spec = model_.config().router;
    std::int32_t* const counts =
        options_.count ? device_counts_.data() + std::ptrdiff_t{layer} * num_ranks_ * num_slots_
                       : nullptr;
    const Backend::RankArguments ranks = {.num_ranks = num_ranks_,
                                          .rank_begin = device_rank_begin_.data()};
    backend_.replay(layer, [&] {
        backend_.route({.spec = &spec,
                        .hidden_size = model_.config().hidden_size,
                        .norm = router.norm.data(),
                        .epsilon = SyntheticModel::kNormEpsilon,
                        .weight = router.weight.data(),
                        .logit_bias = nullptr,
                        .bias = router.bias.empty() ? nullptr : router.bias.data()},
                       num_tokens_, hidden_.data(),
                       {.normalized = normalized_.data(),
                        .expert_ids = expert_ids_.data(),
                        .weights = weights_.data(),
                        .counts = options_.config ? nullptr : counts,
                        .ranks = ranks});
        if (options_.config)
            backend_.assign_slots(slots_[layer].tables(), ranks, first_rank_, num_tokens_,
                                  spec.top_k, expert_ids_.data(), slot_ids_.data(), counts);
    });
    if (options_.keep_ids) {
        const HostView<std::int32_t> ids(
            backend_, options_.config ? slot_ids_.data() : expert_ids_.data(),
            static_cast<std::size_t>(num_tokens_) * static_cast<std::size_t>(spec.top_k));
        current().slot_ids.insert(current().slot_ids.end(), ids.values().begin(),
                                  ids.values().end());
    }
}

// tokens: positions of the chunk's; null: all of them
void Harness::compute_chunk(int layer, const std::vector<std::int32_t>* tokens) {
    const MoeModelConfig& config = model_.config();
    const int num_tokens = tokens == nullptr ? num_tokens_ : static_cast<int>(tokens->size());
    if (tokens != nullptr)
        chunk_tokens_.upload(*tokens);
    const std::int32_t* const device_tokens = tokens == nullptr ? nullptr : chunk_tokens_.data();
    const ExpertExchange::Outputs outputs = exchange_.run(
        num_tokens, device_tokens, options_.config ? slot_ids_.data() : expert_ids_.data(),
        normalized_.data(), slots_[layer].slot_weights());
    const std::span<std::int64_t> totals = slot_totals(layer);
    for (std::size_t slot = 0; slot < totals.size(); ++slot)
        totals[slot] += exchange_.slot_counts()[slot];

    const bool has_shared = !shared_experts_.empty();
    if (has_shared) {
        backend_.begin_stage(Stage::experts);
        shared_output_.grow(static_cast<std::size_t>(num_tokens) *
                            static_cast<std::size_t>(config.hidden_size));
        const MlpWeights weights = model_.shared_shape().view(shared_experts_[layer].data());
        const std::int32_t begin[] = {0, num_tokens};
        backend_.grouped_mlp({&weights, 1}, begin, device_tokens, normalized_.data(),
                             shared_output_.data());
    }
    peak_expert_buffer_bytes_ =
        std::max(peak_expert_buffer_bytes_,
                 exchange_.buffer_bytes() + shared_output_.capacity() * sizeof(float));
    backend_.begin_stage(Stage::combine);
    backend_.combine(num_tokens, device_tokens,
                     {.top_k = config.router.top_k,
                      .hidden_size = config.hidden_size,
                      .rows = outputs.rows,
                      .weights = weights_.data(),
                      .expert_output = outputs.values,
                      .shared_output = has_shared ? shared_output_.data() : nullptr,
                      .shared_gate = nullptr},
                     hidden_.data());
}

void Harness::balance_layer(std::int64_t iteration, int layer) {
    LayerSlots& slots = slots_[layer];
    std::vector<std::int64_t> expert_counts(
        static_cast<std::size_t>(model_.config().router.num_experts));
    const std::span<const std::int64_t> totals = slot_totals(layer);
    for (std::size_t slot = 0; slot < totals.size(); ++slot)
        expert_counts[slots.placement().expert_ids[slot]] += totals[slot];
    if (const std::optional<Placement> next = balancer_->update(iteration, layer, expert_counts)) {
        backend_.begin_stage(Stage::move_weights);
        current().num_moved_slots += slots.move_to(*next);
    }
}

}  // namespace eplb
