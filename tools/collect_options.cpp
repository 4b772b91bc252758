#include "tools/collect_options.h"

#include <cstdlib>

#include "lib/base/error.h"
#include "lib/formats/configs/eplb_config.h"
#include "lib/model/model_config.h"
#include "tools/cli.h"
#include "tools/statistics_input.h"
#include "tools/typed_values.h"

namespace eplb::cli {

namespace {

const char* const kSyntheticGroup = "Synthetic models";
const char* const kCheckpointGroup = "Checkpoints";
const char* const kDeviceGroup = "Devices";

void add_synthetic_options(CLI::App& app, CollectOptions& options) {
    std::string names;
    for (const Preset& preset : presets())
        names += (names.empty() ? "" : ", ") + preset.model.name;
    app.add_option("--preset", options.preset, "Shaped and skewed like a real model: " + names)
        ->type_name("NAME")
        ->capture_default_str()
        ->group(kSyntheticGroup);
    app.add_option(flag("hidden_size"), options.hidden_size,
                   "Hidden size; by default scaled down to 64")
        ->type_name("N")
        ->check(positive())
        ->group(kSyntheticGroup);
    app.add_option(flag("intermediate_size"), options.intermediate_size,
                   "Width of an expert; by default scaled down to 16")
        ->type_name("N")
        ->check(positive())
        ->group(kSyntheticGroup);
    app.add_option("--seed", options.seed, "Of the weights and the synthetic traffic")
        ->type_name("N")
        ->check(id())
        ->capture_default_str()
        ->group(kSyntheticGroup);
    app.add_flag("--check", options.check,
                 "Compare every layer's output with a direct evaluation, token by token")
        ->group(kSyntheticGroup);
}

void add_checkpoint_options(CLI::App& app, CollectOptions& options) {
    app.add_option("--model", options.model,
                   "Folder of a Hugging Face checkpoint: its exact routing, one layer in memory at "
                   "a time; needs --dataset")
        ->type_name("DIR")
        ->check(not_empty())
        ->group(kCheckpointGroup);
    add_choice(app, "--segment", options.segment,
               {{"prompt", Segment::prompt}, {"output", Segment::output}, {"all", Segment::all}},
               "Whose tokens are counted: prompts (prefill), recorded output_ids (decoding: one "
               "of each running request per iteration), or both")
        ->group(kCheckpointGroup);
    app.add_flag("--plan", options.plan,
                 "Print what would be read and computed, and the memory and time it takes; "
                 "config.json is enough")
        ->group(kCheckpointGroup);
    app.add_flag("--resume", options.resume,
                 "Go on from the last layer of a run that was broken off")
        ->group(kCheckpointGroup);
    app.add_option("--state", options.state,
                   "What --resume goes on from, written after each layer; by default beside the "
                   "statistics folder, as PATH.state")
        ->type_name("FILE")
        ->check(not_empty())
        ->group(kCheckpointGroup);
}

void add_device_options(CLI::App& app, CollectOptions& options) {
    add_choice(app, "--backend", options.backend,
               {{"auto", BackendChoice::automatic},
                {"cpu", BackendChoice::cpu},
                {"cuda", BackendChoice::cuda}},
               "What computes; auto takes GPUs where there are any")
        ->group(kDeviceGroup);
    add_choice(app, "--precision", options.precision,
               {{"fp32", ProductPrecision::fp32}, {"bf16", ProductPrecision::bf16}},
               "Of a GPU's matrix products; the router's is always fp32")
        ->group(kDeviceGroup);
    app.add_option("--devices", options.num_devices,
                   "Devices that this process deals the ranks out to: GPUs, or threads of the CPU")
        ->type_name("N")
        ->check(positive())
        ->capture_default_str()
        ->group(kDeviceGroup);
    app.add_option(flag("world_size"), options.world_size,
                   "Processes of the run, a device each; by default as torchrun, OpenMPI, MPICH or "
                   "srun say")
        ->type_name("N")
        ->check(positive())
        ->group(kDeviceGroup);
    app.add_option("--rank", options.rank, "Of this process among them")
        ->type_name("N")
        ->check(non_negative())
        ->group(kDeviceGroup);
    app.add_option(flag("local_rank"), options.local_rank,
                   "Of this process on its host: the GPU that it takes")
        ->type_name("N")
        ->check(non_negative())
        ->group(kDeviceGroup);
    app.add_option("--master", options.master,
                   "Where they meet: HOST:PORT of rank 0, or file:PATH on a file system that all "
                   "see")
        ->type_name("WHERE")
        ->check(not_empty())
        ->group(kDeviceGroup);
    app.add_option(flag("meeting_limit"), options.meeting_limit, "Seconds until all must have come")
        ->type_name("N")
        ->check(positive())
        ->capture_default_str()
        ->group(kDeviceGroup);
    app.add_option(flag("silence_limit"), options.silence_limit,
                   "Seconds without a sign of life after which a process has failed")
        ->type_name("N")
        ->check(positive())
        ->capture_default_str()
        ->group(kDeviceGroup);
}

}  // namespace

void add_options(CLI::App& app, CollectOptions& options) {
    add_synthetic_options(app, options);
    add_checkpoint_options(app, options);
    add_device_options(app, options);
    app.add_option(
           "--dataset", options.dataset,
           "Requests as TensorRT-LLM's dataset.json (one JSON object with \"input_ids\" per "
           "line); synthetic models have traffic without end by default")
        ->type_name("FILE")
        ->check(not_empty());
    app.add_option(flag("ep_size"), options.ep_size,
                   "Expert-parallel ranks; by default the "
                   "preset's (deepseek-r1: 32), or 1 for a --model")
        ->type_name("N")
        ->check(positive());
    app.add_option(flag("tokens_per_rank"), options.tokens_per_rank,
                   "Tokens that each rank brings to an iteration")
        ->type_name("N")
        ->capture_default_str()
        ->check(positive());
    app.add_option("--iterations", options.iterations,
                   "Iterations to run; by default to the end of --iter_range, else 30, or "
                   "all of a --model's dataset")
        ->type_name("N")
        ->check(positive());
    app.add_option(flag("num_layers"), options.num_layers, "Only the first N MoE layers")
        ->type_name("N")
        ->check(positive());
    app.add_option(flag("max_num_tokens"), options.max_num_tokens,
                   "Tokens of all ranks under way at once; more are cut into chunks, which bounds "
                   "memory and changes no result")
        ->type_name("N")
        ->check(positive());
    CLI::Option* const load_balancer =
        app.add_option(flag("load_balancer"), options.load_balancer,
                       "EPLB config, of any engine: a static placement, or online with "
                       "layer_updates_per_iter > 0")
            ->type_name("FILE")
            ->check(not_empty());
    add_config_options(app, options.configs);
    app.add_option(flag("extra_llm_api_options"), options.extra_llm_api_options,
                   "TensorRT-LLM's options file: load_balancer and max_num_tokens of its "
                   "moe_config")
        ->type_name("FILE")
        ->check(not_empty())
        ->excludes(load_balancer);
    app.add_option(flag("expert_statistic_path"), options.expert_statistic_path,
                   "Where the statistics go: a folder, or - for a stream on standard output; "
                   "overrides EXPERT_STATISTIC_PATH")
        ->type_name("PATH")
        ->check(not_empty());
    app.add_option(flag("iter_range"), options.iter_range,
                   "Iterations A to B - 1 are recorded, by default all; overrides "
                   "EXPERT_STATISTIC_ITER_RANGE")
        ->type_name("A-B")
        ->check(not_empty());
    app.add_flag("--raw", options.raw, "Record the routed ids too (folders only)");
    add_threads_option(app, options.num_threads);
    keep_given_options(app, options.given);
    app.footer(
        "Under EPLB the statistics count slots, as the engine's do; without it slots are experts.\n"
        "Without a path or a range nothing is recorded; a range without a path goes to the folder\n"
        "expert_statistic.\n"
        "\n"
        "environment:\n"
        "  EXPERT_STATISTIC_PATH       Folder of the statistics, as in TensorRT-LLM\n"
        "  EXPERT_STATISTIC_ITER_RANGE\n"
        "                              Iterations that are recorded, A-B as in TensorRT-LLM\n"
        "  EPLB_RANK, EPLB_WORLD_SIZE, EPLB_LOCAL_RANK, EPLB_MASTER\n"
        "                              What the options of these names say; where both are\n"
        "                              missing, what torchrun, OpenMPI, MPICH or srun set\n"
        "\n"
        "examples:\n"
        "  eplb-collect --expert_statistic_path expert_statistic --iter_range 10-30\n"
        "  EXPERT_STATISTIC_PATH=stats EXPERT_STATISTIC_ITER_RANGE=10-30 eplb-collect\n"
        "  eplb-collect --ep_size 36 --load_balancer eplb.yaml --expert_statistic_path after\n"
        "  eplb-collect --dataset dataset.json --expert_statistic_path - | eplb-report -\n"
        "  eplb-collect --preset mixtral-8x7b --max_num_tokens 256 --check\n"
        "  eplb-collect --model DeepSeek-R1 --dataset dataset.json --ep_size 32 --plan\n"
        "  eplb-collect --model OLMoE --dataset dataset.json --ep_size 8 "
        "--expert_statistic_path stats\n"
        "  torchrun --no-python --nproc-per-node 8 eplb-collect --expert_statistic_path stats");
}

void check_kind(const CollectOptions& options) {
    const std::string foreign = options.model.empty() ? kCheckpointGroup : kSyntheticGroup;
    for (const GivenOption& option : options.given)
        if (option.group == foreign)
            throw UsageError("--" + option.name +
                             (options.model.empty() ? " needs --model"
                                                    : " is for synthetic models, not for --model"));
    if ((options.resume || !options.state.empty()) && options.num_devices > 1)
        throw UsageError("--devices: a run on several devices keeps no state to resume");
}

Recording resolve_recording(const CollectOptions& options) {
    const auto variable = [](const char* name) {
        const char* const value = std::getenv(name);
        return std::string(value == nullptr ? "" : value);
    };
    const std::string env_path = variable("EXPERT_STATISTIC_PATH");
    const std::string env_range = variable("EXPERT_STATISTIC_ITER_RANGE");
    Recording recording;
    if (!options.iter_range.empty())
        recording.range = parse_iteration_range(options.iter_range, "--iter_range");
    else if (!env_range.empty())
        recording.range = parse_iteration_range(env_range, "EXPERT_STATISTIC_ITER_RANGE");
    if (!options.expert_statistic_path.empty())
        recording.path = options.expert_statistic_path;
    else if (recording.range)
        recording.path = env_path.empty() ? "expert_statistic" : env_path;
    return recording;
}

Balancing read_balancing(const Output& out,
                         const CollectOptions& options,
                         const MoeModelConfig& model,
                         int ep_size) {
    Balancing balancing;
    if (!options.load_balancer.empty()) {
        ConfigContext context;
        context.num_experts = model.router.num_experts;
        context.ep_size = ep_size;
        context.num_hidden_layers = model.layers.back() + 1;
        context.moe_layers = model.layers;
        context.model_key = options.configs.model_key;
        EngineConfig read =
            read_engine_config(out, options.load_balancer, options.configs, context);
        balancing.config = std::move(read.config);
    }
    if (!options.extra_llm_api_options.empty()) {
        MoeOptions moe =
            read_moe_options(options.extra_llm_api_options,
                             {.num_experts = model.router.num_experts, .ep_size = ep_size});
        balancing.max_num_tokens = moe.max_num_tokens;
        if (moe.has_load_balancer)
            balancing.config = std::move(moe.load_balancer);
        else
            out.note(options.extra_llm_api_options +
                     " names no moe_config.load_balancer: this is a run without EPLB");
    }
    if (options.max_num_tokens > 0)
        balancing.max_num_tokens = options.max_num_tokens;
    return balancing;
}

void check_sizes(const CollectOptions& options,
                 const Recording& recording,
                 int ep_size,
                 int top_k) {
    if (options.raw && (recording.path.empty() || recording.path == "-"))
        throw UsageError("--raw needs a folder to record in; a stream holds counts only");
    const std::int64_t num_ids =
        static_cast<std::int64_t>(ep_size) * options.tokens_per_rank * top_k;
    if (num_ids > INT32_MAX)
        throw UsageError("--ep_size " + std::to_string(ep_size) + " x --tokens_per_rank " +
                         std::to_string(options.tokens_per_rank) + " x top-" +
                         std::to_string(top_k) + " is more than an iteration can hold, " +
                         std::to_string(INT32_MAX));
}

}  // namespace eplb::cli
