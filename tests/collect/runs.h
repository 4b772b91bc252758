#ifndef EPLB_TESTS_COLLECT_RUNS_H
#define EPLB_TESTS_COLLECT_RUNS_H

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/collect/collector.h"
#include "lib/collect/synthetic_layers.h"
#include "lib/model/checkpoint.h"

namespace eplb::test {

// A model whose layers can be had for every device of a run.
class TestModel {
  public:
    virtual ~TestModel() = default;
    virtual const MoeModelConfig& moe() const = 0;
    virtual std::vector<int> layers() const = 0;
    virtual std::unique_ptr<LayerSource> source(const ExpertLayout& layout,
                                                int device,
                                                LoopOrder order,
                                                Backend& backend,
                                                Communicator* communicator,
                                                ThreadPool& threads) const = 0;
};

class CheckpointModel final : public TestModel {
  public:
    enum class Last { computes, only_routes };  // what the last layer does

    // A run takes the second, which changes no count; transformers computes all layers.
    explicit CheckpointModel(const std::filesystem::path& folder, Last last = Last::computes);

    const DecoderConfig& config() const { return config_; }
    const Checkpoint& checkpoint() const { return checkpoint_; }
    const MoeModelConfig& moe() const override { return config_.moe; }
    std::vector<int> layers() const override;
    std::unique_ptr<LayerSource> source(const ExpertLayout& layout,
                                        int device,
                                        LoopOrder order,
                                        Backend& backend,
                                        Communicator* communicator,
                                        ThreadPool& threads) const override;

  private:
    DecoderConfig config_;
    Checkpoint checkpoint_;
    Last last_;
};

// A preset with four small layers.
Preset small_preset(const std::string& name = "deepseek-r1");

class PresetModel final : public TestModel {
  public:
    explicit PresetModel(const Preset& preset);

    const SyntheticModel& model() const { return model_; }
    const MoeModelConfig& moe() const override { return model_.config(); }
    std::vector<int> layers() const override { return model_.config().layers; }
    std::unique_ptr<LayerSource> source(const ExpertLayout& layout,
                                        int device,
                                        LoopOrder order,
                                        Backend& backend,
                                        Communicator* communicator,
                                        ThreadPool& threads) const override;

  private:
    ThreadPool threads_;
    SyntheticModel model_;
};

// Prompts and answers of different lengths, an empty one now and then.
std::vector<Request> requests_for(int num_requests, int vocab_size);

// Iterations of synthetic traffic, all in one schedule.
TokenSchedule traffic_schedule(const MoeModelConfig& moe,
                               int ep_size,
                               int tokens_per_rank,
                               int num_iterations);

// Experts stand as the engine puts them.
EplbConfig default_config(int num_slots, int layer_updates_per_iter);
// With replicas of the first experts, shuffled, other ones in every layer.
EplbConfig shuffled_config(const MoeModelConfig& moe, int num_slots, int layer_updates_per_iter);

struct RunOptions {
    int ep_size = 1;
    std::optional<EplbConfig> config = {};
    int num_devices = 1;
    LoopOrder order = LoopOrder::by_layer;
    Decoder::Limits limits = {};
    int num_threads = 1;
};

// What all devices of a run computed and counted, put together: rows are the schedule's.
struct Run {
    std::vector<int> layers;
    // [layers][rows][hidden_size], before and after each
    std::vector<std::vector<float>> input;
    std::vector<std::vector<float>> output;
    std::vector<std::vector<std::int32_t>> expert_ids;  // [layers][rows][top_k], empty without
    ExpertStatistics statistics;
    RoutedIds routed;
    std::vector<std::vector<double>> imbalance;  // [iterations][MoE layers]
    std::int64_t num_routed = 0;
    std::int64_t num_near_ties = 0;
    std::int64_t num_moved_slots = 0;
    std::size_t buffer_bytes = 0;                 // the largest
    std::vector<std::vector<std::string>> calls;  // [devices], of their communicators
};

// Runs a schedule on threads, and checks that all devices say the same of what they share.
Run run(const TestModel& model, const TokenSchedule& schedule, const RunOptions& options);

// What is to be counted where rows were routed as the run says, evaluated id by id.
struct ExpectedCounts {
    ExpertStatistics statistics;
    RoutedIds routed;
    std::int64_t num_moved_slots = 0;
};
ExpectedCounts expected_counts(const TestModel& model,
                               const TokenSchedule& schedule,
                               const RunOptions& options,
                               const Run& run);

// The slots that TensorRT-LLM's round robin gives a rank's experts, [tokens * top_k].
std::vector<std::int32_t> round_robin(const std::vector<int>& expert_of_slot,
                                      std::span<const std::int32_t> experts,
                                      int rank);

}  // namespace eplb::test

#endif
