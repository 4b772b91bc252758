#include "lib/collect/harness.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "lib/collect/initial_placement.h"
#include "lib/report/load_summary.h"

namespace eplb {
namespace {

using TimePoint = std::chrono::steady_clock::time_point;

double seconds_since(TimePoint start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void count(std::span<const std::int32_t> slot_ids, std::span<std::int64_t> counts) {
    for (const std::int32_t slot : slot_ids)
        ++counts[static_cast<std::size_t>(slot)];
}

class StageTimer {
  public:
    StageTimer(StageTimes& times, StageTimes::Stage stage)
        : seconds_(times.seconds[stage]), start_(std::chrono::steady_clock::now()) {}
    ~StageTimer() { seconds_ += seconds_since(start_); }
    StageTimer(const StageTimer&) = delete;
    StageTimer& operator=(const StageTimer&) = delete;

  private:
    double& seconds_;
    TimePoint start_;
};

template <typename T>
void resize_at_least(std::vector<T>& values, std::size_t size) {
    if (values.size() < size)
        values.resize(size);
}

}  // namespace

std::span<std::int64_t> IterationCounts::row(int layer, int rank) {
    const auto size = static_cast<std::size_t>(num_slots);
    return std::span(counts).subspan(static_cast<std::size_t>(layer * ep_size + rank) * size, size);
}

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
      num_slots_(options.config ? options.config->num_slots : model.config().router.num_experts) {
    const MoeModelConfig& config = model.config();
    check_deployment(config, options.ep_size, options.config);
    std::vector<std::optional<LayerSlots>> made(config.layers.size());
    threads.for_each(config.num_layers(), [&](std::int64_t index) {
        const int layer = static_cast<int>(index);
        const Placement placement =
            initial_placement(config, layer, options.ep_size, options.config);
        made[static_cast<std::size_t>(index)].emplace(model, layer, placement);
    });
    for (std::optional<LayerSlots>& layer : made)
        slots_.push_back(std::move(*layer));
    if (config.shared_intermediate_size > 0) {
        shared_experts_.resize(config.layers.size());
        for (int layer = 0; layer < config.num_layers(); ++layer) {
            std::vector<float>& weights = shared_experts_[static_cast<std::size_t>(layer)];
            weights.resize(model.shared_shape().num_weights());
            model.make_shared_expert(layer, weights);
        }
    }
    if (options.config && options.config->layer_updates_per_iter > 0)
        balancer_.emplace(config.num_layers(), config.router.num_experts, options.ep_size,
                          num_slots_ / options.ep_size, options.config->layer_updates_per_iter);
    counts_.num_layers = config.num_layers();
    counts_.ep_size = options.ep_size;
    counts_.num_slots = num_slots_;
}

std::size_t Harness::expert_bytes() const {
    return model_.expert_shape().num_weights() * sizeof(float);
}

const IterationCounts& Harness::run(std::int64_t iteration,
                                    const IterationTokens& tokens,
                                    const LayerObserver& observer) {
    const MoeModelConfig& config = model_.config();
    const auto num_tokens = static_cast<std::size_t>(tokens.num_tokens());
    const auto hidden_size = static_cast<std::size_t>(config.hidden_size);
    const auto top_k = static_cast<std::size_t>(config.router.top_k);
    hidden_.resize(num_tokens * hidden_size);
    normalized_.resize(num_tokens * hidden_size);
    expert_ids_.resize(num_tokens * top_k);
    slot_ids_.resize(num_tokens * top_k);
    weights_.resize(num_tokens * top_k);
    counts_.slot_ids.clear();
    num_moved_slots_ = 0;
    {
        const StageTimer timer(times_, StageTimes::count);
        const std::size_t num_cells = config.layers.size() * static_cast<std::size_t>(num_slots_);
        counts_.slot_totals.assign(num_cells, 0);
        if (options_.count)
            counts_.counts.assign(num_cells * static_cast<std::size_t>(options_.ep_size), 0);
    }
    {
        const StageTimer timer(times_, StageTimes::embed);
        threads_.for_each(options_.ep_size, [&](std::int64_t rank) {
            const auto begin = static_cast<std::size_t>(tokens.rank_begin[rank]);
            const auto size = static_cast<std::size_t>(tokens.rank_begin[rank + 1]) - begin;
            model_.embed(std::span(tokens.token_ids).subspan(begin, size),
                         std::span(hidden_).subspan(begin * hidden_size, size * hidden_size));
        });
    }

    std::vector<float> input;
    for (int layer = 0; layer < config.num_layers(); ++layer) {
        if (observer)
            input = hidden_;
        route_layer(layer, tokens);
        const int chunks = num_chunks(tokens.num_tokens(), options_.max_num_tokens);
        for (int chunk = 0; chunk < chunks; ++chunk) {
            chunk_tokens_.clear();
            for (std::size_t rank = 0; rank + 1 < tokens.rank_begin.size(); ++rank) {
                const std::int32_t begin = tokens.rank_begin[rank];
                const TokenRange range =
                    chunk_of(tokens.rank_begin[rank + 1] - begin, chunks, chunk);
                for (std::int32_t token = range.begin; token < range.end; ++token)
                    chunk_tokens_.push_back(begin + token);
            }
            compute_chunk(layer);
        }
        if (observer)
            observer({layer, input, hidden_, expert_ids_});
        if (balancer_)
            balance_layer(iteration, layer);
    }
    return counts_;
}

void Harness::route_layer(int layer, const IterationTokens& tokens) {
    const StageTimer timer(times_, StageTimes::route);
    const RouterWeights& router = model_.router(layer);
    const RouterSpec& spec = model_.config().router;
    backend_.route({.spec = &spec,
                    .hidden_size = model_.config().hidden_size,
                    .norm = router.norm.data(),
                    .epsilon = SyntheticModel::kNormEpsilon,
                    .weight = router.weight.data(),
                    .logit_bias = nullptr,
                    .bias = router.bias.empty() ? nullptr : router.bias.data()},
                   tokens.num_tokens(), hidden_.data(),
                   {.normalized = normalized_.data(),
                    .expert_ids = expert_ids_.data(),
                    .weights = weights_.data()});
    const SlotRouter& slot_router = slots_[static_cast<std::size_t>(layer)].router();
    std::vector<double> count_seconds(static_cast<std::size_t>(options_.ep_size));
    threads_.for_each(options_.ep_size, [&](std::int64_t index) {
        const auto rank = static_cast<std::size_t>(index);
        const auto top_k = static_cast<std::size_t>(spec.top_k);
        const auto begin = static_cast<std::size_t>(tokens.rank_begin[rank]) * top_k;
        const auto size = static_cast<std::size_t>(tokens.rank_begin[rank + 1]) * top_k - begin;
        const std::span<std::int32_t> slot_ids = std::span(slot_ids_).subspan(begin, size);
        slot_router.route(std::span(expert_ids_).subspan(begin, size), static_cast<int>(rank),
                          slot_ids);
        if (!options_.count)
            return;
        // on the spot, while the ids are in the cache
        const auto start = std::chrono::steady_clock::now();
        count(slot_ids, counts_.row(layer, static_cast<int>(rank)));
        count_seconds[rank] = seconds_since(start);
    });
    const double seconds =
        std::accumulate(count_seconds.begin(), count_seconds.end(), 0.0) / threads_.num_threads();
    times_.seconds[StageTimes::count] += seconds;
    times_.seconds[StageTimes::route] -= seconds;
    if (options_.keep_ids)
        counts_.slot_ids.insert(counts_.slot_ids.end(), slot_ids_.begin(), slot_ids_.end());
}

void Harness::compute_chunk(int layer) {
    const MoeModelConfig& config = model_.config();
    const int top_k = config.router.top_k;
    const auto hidden_size = static_cast<std::size_t>(config.hidden_size);
    const int num_tokens = static_cast<int>(chunk_tokens_.size());
    {
        const StageTimer timer(times_, StageTimes::dispatch);
        plan_.build(chunk_tokens_, slot_ids_, top_k, num_slots_);
        resize_at_least(expert_output_, plan_.rows.size() * hidden_size);
        std::int64_t* const totals =
            counts_.slot_totals.data() + static_cast<std::ptrdiff_t>(layer) * num_slots_;
        for (std::size_t slot = 0; slot < static_cast<std::size_t>(num_slots_); ++slot)
            totals[slot] += plan_.slot_begin[slot + 1] - plan_.slot_begin[slot];
    }
    const bool has_shared = !shared_experts_.empty();
    {
        const StageTimer timer(times_, StageTimes::experts);
        backend_.grouped_mlp(slots_[static_cast<std::size_t>(layer)].slot_weights(),
                             plan_.slot_begin, plan_.source_rows.data(), normalized_.data(),
                             expert_output_.data());
        if (has_shared) {
            resize_at_least(shared_output_, chunk_tokens_.size() * hidden_size);
            const MlpWeights weights =
                model_.shared_shape().view(shared_experts_[static_cast<std::size_t>(layer)].data());
            const std::int32_t begin[] = {0, num_tokens};
            backend_.grouped_mlp({&weights, 1}, begin, chunk_tokens_.data(), normalized_.data(),
                                 shared_output_.data());
        }
    }
    peak_expert_buffer_bytes_ =
        std::max(peak_expert_buffer_bytes_,
                 (expert_output_.size() + shared_output_.size()) * sizeof(float) +
                     (plan_.rows.size() + plan_.source_rows.size()) * sizeof(std::int32_t));
    const StageTimer timer(times_, StageTimes::combine);
    backend_.combine(num_tokens, chunk_tokens_.data(),
                     {.top_k = top_k,
                      .hidden_size = config.hidden_size,
                      .rows = plan_.rows.data(),
                      .weights = weights_.data(),
                      .expert_output = expert_output_.data(),
                      .shared_output = has_shared ? shared_output_.data() : nullptr,
                      .shared_gate = nullptr},
                     hidden_.data());
}

void Harness::balance_layer(std::int64_t iteration, int layer) {
    const StageTimer timer(times_, StageTimes::move_weights);
    LayerSlots& slots = slots_[static_cast<std::size_t>(layer)];
    std::vector<std::int64_t> expert_counts(
        static_cast<std::size_t>(model_.config().router.num_experts));
    for (int slot = 0; slot < num_slots_; ++slot)
        expert_counts[static_cast<std::size_t>(
            slots.placement().expert_ids[static_cast<std::size_t>(slot)])] +=
            counts_.slot_totals[static_cast<std::size_t>(layer) *
                                    static_cast<std::size_t>(num_slots_) +
                                static_cast<std::size_t>(slot)];
    if (const std::optional<Placement> next = balancer_->update(iteration, layer, expert_counts))
        num_moved_slots_ += slots.move_to(*next);
}

}  // namespace eplb
