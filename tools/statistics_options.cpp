#include "tools/statistics_options.h"

#include "lib/base/error.h"
#include "tools/cli.h"
#include "tools/typed_values.h"

namespace eplb::cli {
namespace {

constexpr const char* kPathDescription =
    "Statistics: TensorRT-LLM's folder, a stream of eplb-collect, or what another engine dumps "
    "(--input_format lists them); - is standard input";

}  // namespace

CLI::Option* add_statistics_paths(CLI::App& app,
                                  std::vector<std::string>& paths,
                                  const std::string& purpose) {
    return app
        .add_option("expert_statistic_path," + flag("expert_statistic_path"), paths,
                    std::string(kPathDescription) + "; several: " + purpose)
        ->type_name("PATH")
        ->check(not_empty());
}

void add_config_options(CLI::App& app, StatisticsOptions& options) {
    add_choice(app, flag("config_format"), options.config_format, config_format_choices(),
               "What a config that is read comes in; by default told from the content");
    app.add_option(flag("model_key"), options.model_key,
                   "The model's key in hygon's configs, which may hold several models")
        ->type_name("KEY")
        ->check(not_empty());
}

void add_statistics_options(CLI::App& app, StatisticsOptions& options) {
    std::vector<std::pair<std::string, InputFormat>> formats;
    for (const InputFormat format : input_formats())
        formats.emplace_back(input_format_name(format), format);
    add_choice(app, flag("input_format"), options.input_format, formats,
               "What the statistics come in; by default told from the content");
    app.add_option(flag("first_moe_layer"), options.layers.first_moe_layer,
                   "Where rows of layers come without ids: the first layer with experts, all from "
                   "there on have them; 3 for DeepSeek-R1")
        ->type_name("N")
        ->check(non_negative());
    add_parsed(app, "moe_layers", options.layers.moe_layers, parse_layer_list,
               "Likewise: the layers with experts, 3-60 for DeepSeek-R1")
        ->type_name("LIST");
    app.add_option(flag("model_config"), options.model_config.path,
                   "The model's config.json: its layers with experts, and how many there are")
        ->type_name("FILE")
        ->check(not_empty());
    app.add_option(flag("num_experts"), options.num_experts,
                   "Experts of the model, where the statistics list routed ids alone")
        ->type_name("N")
        ->default_str("highest id + 1")
        ->check(positive());
    app.add_option(flag("iter_start"), options.iter_start, "First iteration used")
        ->type_name("N")
        ->check(id());
    app.add_option(flag("iter_stop"), options.iter_stop, "Iteration to stop before")
        ->type_name("N")
        ->check(id());
    add_config_options(app, options);
    app.add_option(flag("load_balancer"), options.load_balancer,
                   "The config in force during the recording, of any engine: turns its slot ids "
                   "into experts")
        ->type_name("FILE")
        ->check(not_empty());
    add_threads_option(app, options.num_threads);
}

void check_statistics_options(const StatisticsOptions& options) {
    if (options.layers.first_moe_layer && !options.layers.moe_layers.empty())
        throw UsageError("give --first_moe_layer or --moe_layers, not both");
    if (options.iter_start && options.iter_stop && *options.iter_start >= *options.iter_stop)
        throw UsageError("--iter_start " + std::to_string(*options.iter_start) +
                         " must be below --iter_stop " + std::to_string(*options.iter_stop));
}

std::vector<std::string> files_of(const StatisticsOptions& options) {
    return {options.load_balancer, options.model_config.path};
}

std::vector<std::pair<std::string, ConfigFormat>> config_format_choices() {
    std::vector<std::pair<std::string, ConfigFormat>> choices;
    for (const std::string& name : config_format_names())
        choices.emplace_back(name, config_format_of(name));
    return choices;
}

}  // namespace eplb::cli
