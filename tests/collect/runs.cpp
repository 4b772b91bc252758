#include "tests/collect/runs.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "kernels/cpu/cpu_backend.h"
#include "lib/base/grid.h"
#include "lib/collect/checkpoint_layers.h"
#include "lib/collect/online_balancer.h"
#include "lib/collect/token_source.h"
#include "lib/engines/engine.h"
#include "lib/placement/route/load_summary.h"
#include "tests/collect/device_threads.h"
#include "tests/test_support.h"

namespace eplb::test {
namespace {

// The layers of a checkpoint, the last of which computes its experts, too.
class WholeLayers final : public LayerSource {
  public:
    WholeLayers(const DecoderConfig& config,
                const Checkpoint& checkpoint,
                const ExpertLayout& layout,
                int device,
                LoopOrder order,
                Backend& backend)
        : layers_(config, checkpoint, layout, device, order, backend),
          device_(device),
          last_(layers_.layers().back()),
          reader_(config, checkpoint, last_ + 1, false, layout.experts_of(device)),
          weights_(reader_.load(last_)) {}

    const DecoderConfig& config() const override { return layers_.config(); }
    const std::vector<int>& layers() const override { return layers_.layers(); }
    const std::string& name() const override { return layers_.name(); }
    std::string identity() const override { return layers_.identity(); }
    void embed(const Batch& batch, float* hidden) override { layers_.embed(batch, hidden); }
    const LayerWeights& load(int layer) override {
        const LayerWeights& weights = layers_.load(layer);
        return layer == last_ ? weights_ : weights;
    }
    void release(int layer) override { layers_.release(layer); }
    double layer_bytes(int layer) const override { return layers_.layer_bytes(layer); }
    void move_experts(int layer, const ExpertPlaces& from, const ExpertPlaces& to) override {
        layers_.move_experts(layer, from, to);
        if (layer == last_) {
            reader_.set_experts(layer, to.experts(device_));
            weights_ = reader_.load(layer);
        }
    }

  private:
    CheckpointLayers layers_;
    int device_;
    int last_;
    LayerReader reader_;
    LayerWeights weights_;  // the CPU needs not hold them
};

// Writes down what is called.
class LoggedCommunicator final : public Communicator {
  public:
    LoggedCommunicator(Communicator& communicator, std::vector<std::string>& calls)
        : communicator_(communicator), calls_(calls) {}

    int rank() const override { return communicator_.rank(); }
    int size() const override { return communicator_.size(); }
    void all_gather(const void* send, std::size_t num_bytes, void* receive) override {
        calls_.push_back("all_gather " + std::to_string(num_bytes));
        communicator_.all_gather(send, num_bytes, receive);
    }
    void exchange(const void* send,
                  std::span<const std::int64_t> send_begin,
                  void* receive,
                  std::span<const std::int64_t> receive_begin) override {
        std::string& call = calls_.emplace_back("exchange");
        for (const std::int64_t begin : send_begin)
            call += " " + std::to_string(begin);
        communicator_.exchange(send, send_begin, receive, receive_begin);
    }

  private:
    Communicator& communicator_;
    std::vector<std::string>& calls_;
};

// the call without its sizes, which are the device's own where things are exchanged
std::string kind_of(const std::string& call) {
    return call.starts_with("exchange") ? "exchange" : call;
}

struct Part {
    int first_rank = 0;
    std::vector<BatchCounts> batches;
    std::size_t buffer_bytes = 0;
};

template <typename T>
void put_rows(std::span<const T> rows,
              const std::vector<std::int32_t>& schedule_rows,
              std::size_t row_size,
              std::vector<T>& all) {
    for (std::size_t i = 0; i < schedule_rows.size(); ++i)
        std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(i * row_size), row_size,
                    all.begin() + static_cast<std::ptrdiff_t>(
                                      static_cast<std::size_t>(schedule_rows[i]) * row_size));
}

void add_batch(const Part& part, const BatchCounts& batch, Run& run) {
    const ExpertStatistics& own = batch.statistics;
    const auto first = static_cast<int>(own.iter_start - run.statistics.iter_start);
    for (int i = 0; i < own.num_iterations; ++i)
        for (int layer = 0; layer < own.num_layers(); ++layer)
            for (int rank = 0; rank < own.num_sources; ++rank) {
                const std::span<const std::int64_t> row = own.row(i, layer, rank);
                std::copy(row.begin(), row.end(),
                          run.statistics.row(first + i, layer, part.first_rank + rank).begin());
                run.routed.cell(first + i, layer, part.first_rank + rank) =
                    batch.routed->cell(i, layer, rank);
            }
}

void check_totals(const BatchCounts& batch, const Run& run) {
    const int num_slots = run.statistics.num_experts;
    const int num_layers = run.statistics.num_layers();
    const int num_iterations = batch.statistics.num_iterations;
    const auto first = static_cast<int>(batch.statistics.iter_start - run.statistics.iter_start);
    const Grid<const std::int64_t, 3> totals(batch.slot_totals,
                                             {num_iterations, num_layers, num_slots});
    for (int i = 0; i < num_iterations; ++i)
        for (int layer = 0; layer < num_layers; ++layer) {
            std::vector<std::int64_t> sums(num_slots);
            for (int rank = 0; rank < run.statistics.ep_size; ++rank)
                for (int slot = 0; slot < num_slots; ++slot)
                    sums[slot] += run.statistics.row(first + i, layer, rank)[slot];
            const std::span<const std::int64_t> row = totals.row(i, layer);
            REQUIRE(std::equal(row.begin(), row.end(), sums.begin()));
        }
}

void put_together(const std::vector<Part>& parts, const TokenSchedule& schedule, Run& run) {
    ExpertStatistics& statistics = run.statistics;
    statistics = parts.front().batches.front().statistics;
    statistics.num_sources = statistics.ep_size;
    statistics.iter_start = schedule.first_iteration;
    statistics.num_iterations = static_cast<int>(schedule.iterations.size());
    statistics.allocate();
    run.routed.top_k = statistics.top_k;
    run.routed.ep_size = statistics.ep_size;
    run.routed.layers = statistics.layers;
    run.routed.iter_start = statistics.iter_start;
    run.routed.num_iterations = statistics.num_iterations;
    run.routed.ids.resize(schedule.iterations.size() * statistics.layers.size() *
                          static_cast<std::size_t>(statistics.ep_size));
    for (const Part& part : parts) {
        REQUIRE(part.batches.size() == parts.front().batches.size());
        for (const BatchCounts& batch : part.batches)
            add_batch(part, batch, run);
        run.buffer_bytes = std::max(run.buffer_bytes, part.buffer_bytes);
    }
    for (std::size_t b = 0; b < parts.front().batches.size(); ++b) {
        const BatchCounts& first = parts.front().batches[b];
        check_totals(first, run);
        for (const Part& part : parts) {
            const BatchCounts& batch = part.batches[b];
            REQUIRE(batch.slot_totals == first.slot_totals);
            REQUIRE(batch.num_routed == first.num_routed);
            REQUIRE(batch.num_near_ties == first.num_near_ties);
            REQUIRE(batch.num_moved_slots == first.num_moved_slots);
        }
        run.num_routed += first.num_routed;
        run.num_near_ties += first.num_near_ties;
        run.num_moved_slots += first.num_moved_slots;
        for (int i = 0; i < first.statistics.num_iterations; ++i)
            run.imbalance.push_back(first.rank_imbalance(i));
    }
}

}  // namespace

CheckpointModel::CheckpointModel(const std::filesystem::path& folder, Last last)
    : config_(read_decoder_config(folder)), checkpoint_(folder), last_(last) {}

std::vector<int> CheckpointModel::layers() const {
    std::vector<int> ids(config_.num_needed_layers());
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
}

std::unique_ptr<LayerSource> CheckpointModel::source(const ExpertLayout& layout,
                                                     int device,
                                                     LoopOrder order,
                                                     Backend& backend,
                                                     Communicator*,
                                                     ThreadPool&) const {
    if (last_ == Last::computes)
        return std::make_unique<WholeLayers>(config_, checkpoint_, layout, device, order, backend);
    return std::make_unique<CheckpointLayers>(config_, checkpoint_, layout, device, order, backend);
}

Preset small_preset(const std::string& name) {
    Preset preset = find_preset(name);
    preset.model.layers.resize(4);
    preset.model.hidden_size = 32;
    preset.model.intermediate_size = 8;
    preset.model.shared_intermediate_size = preset.model.shared_intermediate_size > 0 ? 8 : 0;
    return preset;
}

PresetModel::PresetModel(const Preset& preset) : threads_(2), model_(preset, 1, threads_) {}

std::unique_ptr<LayerSource> PresetModel::source(const ExpertLayout& layout,
                                                 int,
                                                 LoopOrder,
                                                 Backend& backend,
                                                 Communicator* communicator,
                                                 ThreadPool& threads) const {
    return std::make_unique<SyntheticLayers>(model_, layout, backend, communicator, threads);
}

std::vector<Request> requests_for(int num_requests, int vocab_size) {
    std::vector<Request> requests;
    for (int i = 0; i < num_requests; ++i) {
        Request request;
        for (int t = 0; t < 3 + 5 * (i % 4); ++t)
            request.input_ids.push_back((7 * i + 3 * t * t + t) % vocab_size);
        for (int t = 0; t < 2 + 3 * (i % 3); ++t)
            request.output_ids.push_back((5 * i + t * t) % vocab_size);
        requests.push_back(request);
    }
    requests[num_requests / 2] = {};
    return requests;
}

TokenSchedule traffic_schedule(const MoeModelConfig& moe,
                               int ep_size,
                               int tokens_per_rank,
                               int num_iterations) {
    SyntheticTokens source(SyntheticTraffic(moe.vocab_size, 1), ep_size, tokens_per_rank);
    TokenSchedule all;
    all.sequence_begin = {0};
    for (int i = 0; i < num_iterations; ++i) {
        const TokenSchedule one = *source.next();
        const std::int32_t first = all.num_rows();
        all.token_ids.insert(all.token_ids.end(), one.token_ids.begin(), one.token_ids.end());
        for (int s = 1; s <= one.num_sequences(); ++s)
            all.sequence_begin.push_back(first + one.sequence_begin[s]);
        all.iterations.push_back(one.iterations.front());
        for (std::int32_t& row : all.iterations.back().rows)
            row += first;
    }
    return all;
}

EplbConfig default_config(int num_slots, int layer_updates_per_iter) {
    EplbConfig config;
    config.num_slots = num_slots;
    config.layer_updates_per_iter = layer_updates_per_iter;
    return config;
}

EplbConfig shuffled_config(const MoeModelConfig& moe, int num_slots, int layer_updates_per_iter) {
    EplbConfig config = default_config(num_slots, layer_updates_per_iter);
    std::mt19937 generator(3);
    for (const int layer : moe.layers) {
        std::vector<int> expert_ids(num_slots);
        for (int slot = 0; slot < num_slots; ++slot)
            expert_ids[slot] =
                slot < moe.router.num_experts ? slot : static_cast<int>(generator() % 5);
        std::shuffle(expert_ids.begin(), expert_ids.end(), generator);
        config.initial_global_assignments[layer] = expert_ids;
    }
    return config;
}

Run run(const TestModel& model, const TokenSchedule& schedule, const RunOptions& options) {
    const ExpertLayout layout = lay_out_experts(model.moe(), options.ep_size, options.config,
                                                options.num_devices, options.order);
    const auto hidden_size = static_cast<std::size_t>(model.moe().hidden_size);
    const auto top_k = static_cast<std::size_t>(model.moe().router.top_k);
    Run result;
    result.layers = model.layers();
    result.calls.resize(options.num_devices);
    result.input.assign(result.layers.size(),
                        std::vector<float>(schedule.token_ids.size() * hidden_size));
    result.output = result.input;
    result.expert_ids.resize(result.layers.size());
    for (std::size_t i = 0; i < result.layers.size(); ++i)
        if (std::binary_search(model.moe().layers.begin(), model.moe().layers.end(),
                               result.layers[i]))
            result.expert_ids[i].resize(schedule.token_ids.size() * top_k);
    std::vector<Part> parts(options.num_devices);
    const auto run_part = [&](int device, ProcessGroup* group, Communicator* communicator) {
        ThreadPool threads(options.num_threads);
        CpuBackend backend(threads);
        const std::unique_ptr<LayerSource> source =
            model.source(layout, device, options.order, backend, communicator, threads);
        Collector collector(*source, layout,
                            {.order = options.order,
                             .keep_ids = true,
                             .limits = options.limits,
                             .communicator = communicator,
                             .group = group},
                            backend);
        Part& part = parts[device];
        part.first_rank = collector.first_rank();
        Batches batches(schedule, device, options.ep_size / options.num_devices, options.order);
        std::vector<std::int32_t> rows;  // of the schedule, in the batch
        collector.set_observer([&](const Collector::LayerTrace& trace) {
            const auto layer = static_cast<std::size_t>(
                std::lower_bound(result.layers.begin(), result.layers.end(), trace.layer) -
                result.layers.begin());
            Batch batch;
            if (layer == 0 && batches.next(batch)) {
                rows.clear();
                for (const SequencePiece& piece : batch.pieces)
                    for (int t = 0; t < piece.num_tokens; ++t)
                        rows.push_back(schedule.sequence_begin[piece.sequence] +
                                       piece.first_position + t);
            }
            put_rows(trace.input, rows, hidden_size, result.input[layer]);
            put_rows(trace.output, rows, hidden_size, result.output[layer]);
            if (!result.expert_ids[layer].empty())
                put_rows(trace.expert_ids, rows, top_k, result.expert_ids[layer]);
            else if (!trace.expert_ids.empty())
                throw std::logic_error("a layer without experts has ids");
        });
        if (!collector.run(schedule, [&](BatchCounts& counts) {
                part.batches.push_back(std::move(counts));
            }))  // no assertion: this may be one of several threads
            throw std::logic_error("the run was stopped");
        part.buffer_bytes = collector.peak_expert_buffer_bytes();
    };
    if (options.num_devices == 1) {
        run_part(0, nullptr, nullptr);
    } else {
        on_devices(options.num_devices,
                   [&](int device, ProcessGroup& group, Communicator& communicator) {
                       LoggedCommunicator logged(communicator, result.calls[device]);
                       run_part(device, &group, &logged);
                   });
        for (const std::vector<std::string>& calls : result.calls)
            REQUIRE(std::equal(calls.begin(), calls.end(), result.calls.front().begin(),
                               result.calls.front().end(), [](const auto& a, const auto& b) {
                                   return kind_of(a) == kind_of(b);
                               }));
    }
    put_together(parts, schedule, result);
    return result;
}

std::vector<std::int32_t> round_robin(const std::vector<int>& expert_of_slot,
                                      std::span<const std::int32_t> experts,
                                      int rank) {
    constexpr std::size_t kBlock = 1024;
    std::map<std::int32_t, std::vector<std::int32_t>> replicas;
    for (std::size_t slot = 0; slot < expert_of_slot.size(); ++slot)
        replicas[expert_of_slot[slot]].push_back(static_cast<std::int32_t>(slot));
    std::vector<std::int32_t> slots;
    std::map<std::int32_t, std::size_t> before;  // in the block
    for (std::size_t i = 0; i < experts.size(); ++i) {
        if (i % kBlock == 0)
            before.clear();
        const std::vector<std::int32_t>& own = replicas.at(experts[i]);
        const std::size_t turn = before[experts[i]]++ + i / kBlock + static_cast<std::size_t>(rank);
        slots.push_back(own[turn % own.size()]);
    }
    return slots;
}

ExpectedCounts expected_counts(const TestModel& model,
                               const TokenSchedule& schedule,
                               const RunOptions& options,
                               const Run& run) {
    const MoeModelConfig& moe = model.moe();
    const int num_experts = moe.router.num_experts;
    const std::ptrdiff_t top_k = moe.router.top_k;
    ExpectedCounts expected = {run.statistics, run.routed, 0};
    expected.statistics.num_experts = options.config ? options.config->num_slots : num_experts;
    expected.statistics.ids = options.config ? IdKind::slot : IdKind::expert;
    expected.statistics.layers = moe.layers;
    expected.statistics.allocate();
    const int num_slots = expected.statistics.num_experts;
    std::optional<OnlineBalancer> balancer;
    if (options.config && options.config->layer_updates_per_iter > 0)
        balancer.emplace(moe.num_layers(), num_experts, options.ep_size,
                         num_slots / options.ep_size, options.config->layer_updates_per_iter);
    for (int layer = 0; layer < moe.num_layers(); ++layer) {
        const auto position =
            std::lower_bound(run.layers.begin(), run.layers.end(), moe.layers[layer]) -
            run.layers.begin();
        const std::vector<std::int32_t>& ids_of_rows = run.expert_ids[position];
        std::vector<int> placement =
            options.config && !options.config->initial_global_assignments.empty()
                ? options.config->initial_global_assignments.at(moe.layers[layer])
                : default_engine()
                      .default_placement(num_experts, options.ep_size, num_slots / options.ep_size)
                      .expert_ids;
        for (std::size_t i = 0; i < schedule.iterations.size(); ++i) {
            const TokenSchedule::Iteration& iteration = schedule.iterations[i];
            std::vector<std::int64_t> expert_counts(num_experts);
            for (int rank = 0; rank < options.ep_size; ++rank) {
                std::vector<std::int32_t> ids;
                for (int at = iteration.rank_begin[rank]; at < iteration.rank_begin[rank + 1]; ++at)
                    for (std::ptrdiff_t j = 0; j < top_k; ++j)
                        ids.push_back(ids_of_rows[iteration.rows[at] * top_k + j]);
                for (const std::int32_t expert : ids)
                    ++expert_counts[expert];
                if (options.config)
                    ids = round_robin(placement, ids, rank);
                for (const std::int32_t slot : ids)
                    ++expected.statistics.row(static_cast<int>(i), layer, rank)[slot];
                expected.routed.cell(static_cast<int>(i), layer, rank) = ids;
            }
            if (!balancer)
                continue;
            const std::optional<Placement> next = balancer->update(
                schedule.first_iteration + static_cast<std::int64_t>(i), layer, expert_counts);
            for (int slot = 0; next && slot < num_slots; ++slot)
                expected.num_moved_slots += next->expert_ids[slot] != placement[slot] ? 1 : 0;
            if (next)
                placement = next->expert_ids;
        }
    }
    return expected;
}

}  // namespace eplb::test
