#ifndef EPLB_TOOLS_COLLECT_JOB_H
#define EPLB_TOOLS_COLLECT_JOB_H

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "lib/collect/checkpoint_layers.h"
#include "lib/collect/run_cost.h"
#include "lib/collect/synthetic_layers.h"
#include "lib/collect/token_source.h"
#include "tools/collect_devices.h"
#include "tools/collect_options.h"
#include "tools/output.h"

namespace eplb::cli {

// What the command line asks for, with its defaults and what the files that it names say.
struct Job {
    explicit Job(const CollectOptions& asked) : options(asked) {}

    const CollectOptions& options;
    Recording recording;
    int ep_size = 1;
    Balancing balancing;
    std::optional<Preset> preset;             // a synthetic model, or
    std::optional<DecoderConfig> checkpoint;  // a checkpoint
    CheckpointSize checkpoint_size;           // with the layers that --num_layers leaves out

    const MoeModelConfig& moe() const { return preset ? preset->model : checkpoint->moe; }
    // A synthetic model's traffic has no end, and its layers are small; a checkpoint's layers are
    // large.
    LoopOrder order() const { return preset ? LoopOrder::by_iteration : LoopOrder::by_layer; }
    std::int64_t num_iterations() const;  // at most
    IterationRange range() const;         // that is recorded; its end may lie beyond the data's
};

// Refuses what would fail only after the work.
Job make_job(const Output& out, const CollectOptions& options);

// Tokens and layers of a run on one device.
struct Inputs {
    std::optional<SyntheticModel> synthetic;
    std::optional<Checkpoint> checkpoint;
    std::unique_ptr<TokenSource> tokens;
    std::unique_ptr<LayerSource> layers;
    Decoder::Limits limits;
    // of a checkpoint
    const TokenSchedule* schedule = nullptr;  // that tokens hold
    std::optional<PlannedRun> plan;
};
void make_inputs(const Job& job, const ExpertLayout& layout, const Device& device, Inputs& inputs);

// Of a checkpoint's run; without a dataset lengths are assumed.
PlannedRun plan_run(const Job& job,
                    std::vector<std::int64_t> sequence_lengths,
                    Backend& backend,
                    int num_threads,
                    int num_devices);
std::vector<std::int64_t> sequence_lengths(const Job& job);

}  // namespace eplb::cli

#endif
