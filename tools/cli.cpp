#include "tools/cli.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <new>
#include <numeric>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/formats/model_shape.h"
#include "lib/placement/rank_load.h"
#include "lib/placement/slot_fold.h"
#include "lib/statistics/recording_checks.h"
#include "tools/help_formatter.h"
#include "tools/version.h"

namespace eplb::cli {
namespace {

constexpr std::int64_t kMaxNumber = 1 << 20;

thread_local bool quiet = false;

// at once, so that lines of several processes do not mix
void say(const std::string& line) {
    std::cerr << line + "\n";
}

std::string strip(const std::string& text) {
    constexpr const char* kSpace = " \t\n\r\f\v";
    const std::size_t first = text.find_first_not_of(kSpace);
    if (first == std::string::npos)
        return "";
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// a number as Python's int() reads it, but for a minus sign: that separates the range
std::optional<std::int64_t> parse_python_int(std::string text) {
    text = strip(text);
    if (!text.empty() && text.front() == '+')
        text.erase(0, 1);
    std::string digits;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '_')
            digits += text[i];
        else if (i == 0 || i + 1 == text.size() || text[i - 1] == '_')
            return std::nullopt;
    }
    std::int64_t value = 0;
    const char* const end = digits.data() + digits.size();
    const auto [rest, error] = std::from_chars(digits.data(), end, value);
    if (digits.empty() || digits.front() == '-' || error != std::errc() || rest != end)
        return std::nullopt;
    return value;
}

// letters to change, add or leave out
std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), 0);
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j)
            diagonal = std::exchange(row[j], std::min({diagonal + (a[i - 1] == b[j - 1] ? 0 : 1),
                                                       row[j] + 1, row[j - 1] + 1}));
    }
    return row.back();
}

// What CLI11 would call an argument too many, or a missing one: the first flag that does not exist.
std::optional<std::string> unknown_flag(const CLI::App& app, int argc, char** argv) {
    std::vector<std::string> known = {"--help"};
    for (const CLI::Option* const option : app.get_options())
        for (const std::string& name : option->get_lnames())
            known.push_back("--" + name);
    for (int i = 1; i < argc; ++i) {
        const std::string given = argv[i];
        const std::string flag = given.substr(0, given.find('='));
        if (flag.size() < 3 || flag.compare(0, 2, "--") != 0 ||
            std::find(known.begin(), known.end(), flag) != known.end())
            continue;
        const auto nearest = std::min_element(
            known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
                return edit_distance(flag, a) < edit_distance(flag, b);
            });
        std::string text = "unknown option " + flag;
        if (edit_distance(flag, *nearest) <= 3 || nearest->compare(0, flag.size(), flag) == 0)
            text += "; did you mean " + *nearest + "?";
        return text;
    }
    return std::nullopt;
}

// Adds "3" or "10-20".
void add_layers(std::vector<int>& layers, const std::string& part, const std::string& option) {
    const std::size_t dash = part.find('-');
    const auto first = parse_python_int(part.substr(0, dash));
    const auto last = dash == std::string::npos ? first : parse_python_int(part.substr(dash + 1));
    if (!first || !last)
        throw UsageError(option + ": '" + part + "' is neither a layer nor a range; write 3,10-20");
    if (*last > kMaxNumber)
        throw UsageError(option + ": layer " + std::to_string(*last) + " is beyond " +
                         std::to_string(kMaxNumber));
    if (*last < *first)
        throw UsageError(option + ": the range " + part + " is empty");
    for (auto layer = static_cast<int>(*first); layer <= *last; ++layer)
        layers.push_back(layer);
}

constexpr const char* kPathDescription =
    "Statistics: TensorRT-LLM's folder, a stream of eplb-collect, or what another engine dumps "
    "(--input_format lists them); - is standard input";

// the numbers of a list, each by `parse`, which gives nothing for what is none
template <typename Number, typename Parse>
std::vector<Number> parse_list(const std::string& text, const Parse& parse) {
    std::vector<Number> numbers;
    for (const std::string& part : CLI::detail::split(text, ','))
        numbers.push_back(parse(strip(part)));
    return numbers;
}

// weights and speeds, in any unit: beyond these is a slip, and sums of them would overflow
constexpr double kLeastReal = 1e-6;
constexpr double kMostReal = 1e6;

std::optional<double> parse_real(const std::string& text) {
    double value = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (text.empty() || error != std::errc() || rest != end || !std::isfinite(value))
        return std::nullopt;
    return value;
}

}  // namespace

int run_tool(const Tool& tool, int argc, char** argv) {
    const auto fail = [&](const char* what, int exit_code) {
        say(tool.name + ": error: " + what +
            (exit_code == kUsage ? "\nTry '" + tool.name + " --help' for more information." : ""));
        return exit_code;
    };
    std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then an error like a full disk
    try {
        CLI::App app(tool.description, tool.name);
        app.formatter(std::make_shared<HelpFormatter>());
        app.set_help_flag("-h,--help", "Print this text and exit");
        app.set_version_flag("--version", tool.name + " " EPLB_VERSION,
                             "Print the version and exit");
        tool.add_options(app);
        try {
            app.parse(argc, argv);
        } catch (const CLI::Success& done) {  // --help, --version
            return app.exit(done, std::cout, std::cerr);
        } catch (const CLI::ParseError& error) {
            return fail(unknown_flag(app, argc, argv).value_or(error.what()).c_str(), kUsage);
        }
        return tool.run(app);
    } catch (const CLI::ParseError& error) {
        return fail(error.what(), kUsage);
    } catch (const UsageError& error) {
        return fail(error.what(), kUsage);
    } catch (const GateError& error) {
        return fail(error.what(), kGateFailed);
    } catch (const std::bad_alloc&) {
        return fail("out of memory", kFailed);
    } catch (const std::exception& error) {
        return fail(error.what(), kFailed);
    }
}

std::string read_input(const std::string& path) {
    return read_file(path == "-" ? "/dev/stdin" : path);
}

std::string name_of_input(const std::string& path) {
    return path == "-" ? "standard input" : path;
}

void warn(const CLI::App& app, const std::string& text) {
    if (quiet)
        return;
    say(app.get_name() + ": warning: " + text);
}

void note(const CLI::App& app, const std::string& text) {
    if (quiet)
        return;
    say(app.get_name() + ": " + text);
}

void keep_quiet() {
    quiet = true;
}

bool is_quiet() {
    return quiet;
}

std::string flag(const std::string& name) {
    std::string hyphenated = name;
    std::replace(hyphenated.begin(), hyphenated.end(), '_', '-');
    std::string flags = "--" + name;
    if (hyphenated != name)
        flags.append(",--").append(hyphenated);
    return flags;
}

CLI::Validator between(std::int64_t minimum, std::int64_t maximum) {
    return CLI::Validator(
        [minimum, maximum](const std::string& text) -> std::string {
            std::int64_t value = 0;
            const char* const end = text.data() + text.size();
            const auto [rest, error] = std::from_chars(text.data(), end, value);
            if (error != std::errc() || rest != end || value < minimum || value > maximum)
                return "'" + text + "' is not an integer in [" + std::to_string(minimum) + ", " +
                       std::to_string(maximum) + "]";
            return "";
        },
        "");
}

const CLI::Validator& positive() {
    static const CLI::Validator validator = between(1, kMaxNumber);
    return validator;
}

const CLI::Validator& non_negative() {
    static const CLI::Validator validator = between(0, kMaxNumber);
    return validator;
}

const CLI::Validator& id() {
    static const CLI::Validator validator = between(0, std::int64_t{1} << 60);
    return validator;
}

const CLI::Validator& not_empty() {
    static const CLI::Validator validator(
        [](const std::string& text) { return std::string(text.empty() ? "is empty" : ""); }, "");
    return validator;
}

bool is_folder(const std::string& path) {
    std::error_code ignored;
    return std::filesystem::is_directory(path, ignored);
}

bool is_same_file(const std::string& a, const std::string& b) {
    std::error_code ignored;
    const auto whole = [&](const std::string& path) {
        return std::filesystem::weakly_canonical(std::filesystem::absolute(path, ignored), ignored);
    };
    return whole(a) == whole(b);
}

void check_output(const std::string& output_path, const std::vector<std::string>& inputs) {
    namespace fs = std::filesystem;
    if (output_path == "-")
        return;
    const fs::path output = output_path;
    const fs::path folder = output.has_parent_path() ? output.parent_path() : fs::path(".");
    std::error_code ignored;
    for (const std::string& input : inputs) {
        if (fs::is_regular_file(input, ignored) && fs::equivalent(output, input, ignored))
            throw UsageError(output_path + ": is an input; the output needs a name of its own");
        if (fs::is_directory(input, ignored) && fs::equivalent(folder, input, ignored) &&
            (output.extension() == ".safetensors" || output.filename() == "meta_info.json"))
            throw UsageError(output_path +
                             ": belongs to the statistics; the output needs a name "
                             "of its own");
    }
}

std::vector<int> parse_layer_list(const std::string& text, const std::string& option) {
    std::vector<int> layers;
    for (const std::string& part : CLI::detail::split(text, ','))
        add_layers(layers, part, option);
    std::sort(layers.begin(), layers.end());
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    return layers;
}

IterationRange parse_iteration_range(const std::string& text, const std::string& origin) {
    const std::size_t dash = text.find('-');
    if (dash != std::string::npos && text.find('-', dash + 1) == std::string::npos) {
        const auto start = parse_python_int(text.substr(0, dash));
        const auto stop = parse_python_int(text.substr(dash + 1));
        if (start && stop) {
            if (*start >= *stop)
                throw UsageError(origin + ": the range " + strip(text) +
                                 " is empty; the first number must be below the second");
            return {*start, *stop};
        }
    }
    throw UsageError(origin + ": '" + text +
                     "' is not a range of iterations; write 100-200 for iterations 100 to 199");
}

const CLI::Validator& non_negative_real() {
    static const CLI::Validator validator(
        [](const std::string& text) {
            const std::optional<double> value = parse_real(text);
            return std::string(value && *value >= 0 ? ""
                                                    : "'" + text + "' is not a number from 0 on");
        },
        "");
    return validator;
}

const CLI::Validator& positive_real() {
    static const CLI::Validator validator(
        [](const std::string& text) {
            const std::optional<double> value = parse_real(text);
            return std::string(value && *value >= kLeastReal && *value <= kMostReal
                                   ? ""
                                   : "'" + text + "' is not a number in [1e-6, 1e6]");
        },
        "");
    return validator;
}

std::vector<int> parse_numbers(const std::string& text, const std::string& option) {
    return parse_list<int>(text, [&](const std::string& part) {
        const std::optional<std::int64_t> value = parse_python_int(part);
        if (!value || *value < 1 || *value > kMaxNumber)
            throw UsageError(option + ": '" + part + "' is not an integer in [1, " +
                             std::to_string(kMaxNumber) + "]");
        return static_cast<int>(*value);
    });
}

std::vector<double> parse_positive_reals(const std::string& text, const std::string& option) {
    return parse_list<double>(text, [&](const std::string& part) {
        const std::optional<double> value = parse_real(part);
        if (!value || *value < kLeastReal || *value > kMostReal)
            throw UsageError(option + ": '" + part + "' is not a number in [1e-6, 1e6]");
        return *value;
    });
}

CLI::Option* add_statistics_path(CLI::App& app, std::string& path) {
    return app
        .add_option("expert_statistic_path," + flag("expert_statistic_path"), path,
                    kPathDescription)
        ->type_name("PATH")
        ->check(not_empty());
}

CLI::Option* add_statistics_paths(CLI::App& app,
                                  std::vector<std::string>& paths,
                                  const std::string& purpose) {
    return app
        .add_option("expert_statistic_path," + flag("expert_statistic_path"), paths,
                    std::string(kPathDescription) + "; several: " + purpose)
        ->type_name("PATH")
        ->check(not_empty());
}

void add_statistics_options(CLI::App& app, StatisticsOptions& options) {
    std::vector<std::pair<std::string, InputFormat>> formats;
    for (const InputFormat format : input_formats())
        formats.emplace_back(input_format_name(format), format);
    add_choice(app, flag("input_format"), options.input_format, formats,
               "What the statistics come in; by default told from the content");
    app.add_option(flag("first_moe_layer"), options.first_moe_layer,
                   "Where rows of layers come without ids: the first layer with experts, all from "
                   "there on have them; 3 for DeepSeek-R1")
        ->type_name("N")
        ->check(non_negative());
    app.add_option(flag("moe_layers"), options.moe_layers,
                   "Likewise: the layers with experts, 3-60 for DeepSeek-R1")
        ->type_name("LIST")
        ->check(not_empty());
    app.add_option(flag("model_config"), options.model_config,
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
    add_choice(app, flag("config_format"), options.config_format, config_format_choices(),
               "What a config that is read comes in; by default told from the content");
    app.add_option(flag("model_key"), options.model_key,
                   "The model's key in hygon's configs, which may hold several models")
        ->type_name("KEY")
        ->check(not_empty());
    app.add_option(flag("load_balancer"), options.load_balancer,
                   "The config in force during the recording, of any engine: turns its slot ids "
                   "into experts")
        ->type_name("FILE")
        ->check(not_empty());
    add_threads_option(app, options.num_threads);
}

std::vector<std::string> files_of(const StatisticsOptions& options) {
    return {options.load_balancer, options.model_config};
}

LayerOptions layer_options(const StatisticsOptions& options) {
    if (options.first_moe_layer && !options.moe_layers.empty())
        throw UsageError("give --first_moe_layer or --moe_layers, not both");
    LayerOptions layers;
    layers.first_moe_layer = options.first_moe_layer;
    if (!options.moe_layers.empty())
        layers.moe_layers = parse_layer_list(options.moe_layers, "--moe_layers");
    return layers;
}

ConfigContext config_context(const StatisticsOptions& options) {
    ConfigContext context;
    if (!options.model_config.empty())
        context = context_of(read_model_shape(options.model_config), 0);
    if (options.num_experts > 0)
        context.num_experts = options.num_experts;
    const LayerOptions layers = layer_options(options);
    if (!layers.moe_layers.empty())
        context.moe_layers = layers.moe_layers;
    context.first_moe_layer = options.first_moe_layer;
    context.model_key = options.model_key;
    return context;
}

EngineConfig read_engine_config(const CLI::App& app,
                                const std::string& path,
                                const StatisticsOptions& options,
                                const ConfigContext& context) {
    EngineConfig config =
        parse_config(read_input(path), name_of_input(path), context, options.config_format);
    for (const std::string& warning : config.warnings)
        warn(app, warning);
    return config;
}

std::vector<std::pair<std::string, ConfigFormat>> config_format_choices() {
    std::vector<std::pair<std::string, ConfigFormat>> choices;
    for (const std::string& name : config_format_names())
        choices.emplace_back(name, config_format_of(name));
    return choices;
}

namespace {

// path: of the config, for messages
SlotFold fold_in_force(const ExpertStatistics& statistics,
                       const EplbConfig& config,
                       const std::string& path) {
    if (statistics.num_experts != config.num_slots)
        throw Error(path + ": has num_slots " + std::to_string(config.num_slots) +
                    ", but the statistics hold " + std::to_string(statistics.num_experts) +
                    " ids; give the yaml that was in force during the recording");
    try {
        return SlotFold(statistics, config);
    } catch (const Error& error) {
        throw Error(path + ": " + error.what());
    }
}

// Whether the ids are slots of the config in force, and not experts.
bool is_recorded_under(const ExpertStatistics& statistics,
                       const EplbConfig& config,
                       const StatisticsOptions& options) {
    const bool holds_experts =
        statistics.ids == IdKind::expert ||
        (statistics.ids == IdKind::unstated && statistics.num_experts != config.num_slots);
    return !options.may_hold_experts || !holds_experts;
}

// Hands on rows of slots as rows of experts.
class FoldedRows : public RowSink {
  public:
    FoldedRows(const EplbConfig& config, const StatisticsOptions& options, RowSink& target)
        : config_(config), options_(options), target_(target) {}

    void begin(const ExpertStatistics& shape) override {
        if (is_recorded_under(shape, config_, options_))
            fold_.emplace(fold_in_force(shape, config_, options_.load_balancer));
        target_.begin(fold_ ? fold_->folded_shape(shape) : shape);
    }

    void add(std::int64_t iteration,
             int layer,
             int source,
             std::span<const std::int64_t> counts) override {
        if (!fold_) {
            target_.add(iteration, layer, source, counts);
            return;
        }
        std::vector<std::int64_t> experts(static_cast<std::size_t>(fold_->num_experts()));
        fold_->add(layer, counts, experts);
        target_.add(iteration, layer, source, experts);
    }

  private:
    const EplbConfig& config_;
    const StatisticsOptions& options_;
    RowSink& target_;
    std::optional<SlotFold> fold_;  // none where the rows are of experts already
};

}  // namespace

namespace {

// are_slots: of a config in force, which the number of ids is then of.
void check_model(const ExpertStatistics& statistics,
                 const ModelShape& model,
                 bool are_slots,
                 const std::string& where,
                 const std::string& model_config) {
    const std::string another = "; give the config.json of the model that was recorded";
    if (!are_slots && statistics.ids != IdKind::slot && statistics.num_experts != model.num_experts)
        throw Error(
            where + "has " + std::to_string(statistics.num_experts) + " experts, " + model_config +
            " " + std::to_string(model.num_experts) + another +
            (statistics.ids == IdKind::unstated && statistics.num_experts > model.num_experts
                 ? ", or --load_balancer where these are slots of a run with EPLB"
                 : ""));
    for (const int layer : statistics.layers)
        if (layer < model.num_hidden_layers &&
            !std::binary_search(model.moe_layers.begin(), model.moe_layers.end(), layer))
            throw Error(where + "has layer " + std::to_string(layer) +
                        ", which has no experts in " + model_config + another);
}

}  // namespace

ExpertStatistics load_statistics(const CLI::App& app,
                                 const std::string& path,
                                 const StatisticsOptions& options,
                                 Sources sources,
                                 ThreadPool& threads,
                                 std::optional<RecordedUnder>* under,
                                 RowSink* rows) {
    if (path.empty())
        throw UsageError("--expert_statistic_path is required: a folder, a file, or -");
    if (options.iter_start && options.iter_stop && *options.iter_start >= *options.iter_stop)
        throw UsageError("--iter_start " + std::to_string(*options.iter_start) +
                         " must be below --iter_stop " + std::to_string(*options.iter_stop));
    std::optional<EplbConfig> in_force;
    std::optional<FoldedRows> folded_rows;
    if (!options.load_balancer.empty())
        in_force =
            read_engine_config(app, options.load_balancer, options, config_context(options)).config;
    if (in_force && rows != nullptr)
        rows = &folded_rows.emplace(*in_force, options, *rows);
    SourceOptions source;
    source.format = options.input_format;
    source.layers = layer_options(options);
    source.num_experts = options.num_experts;
    std::optional<ModelShape> model;
    if (!options.model_config.empty()) {
        model = read_model_shape(options.model_config);
        source.model_moe_layers = model->moe_layers;
        source.model_num_experts = model->num_experts;
    }
    SourceReading reading = read_source(path, source,
                                        {.iter_start = options.iter_start,
                                         .iter_stop = options.iter_stop,
                                         .sum_sources = sources == Sources::summed},
                                        threads, rows);
    ExpertStatistics& statistics = reading.statistics;
    if (std::all_of(statistics.counts.begin(), statistics.counts.end(),
                    [](std::int64_t count) { return count == 0; }))
        throw Error(path + ": holds no tokens");
    if (in_force && statistics.ids == IdKind::expert && !options.may_hold_experts)
        throw Error(path + ": holds counts of experts already; leave --load_balancer out");
    if (model)
        check_model(statistics, *model, in_force.has_value(), path + ": ", options.model_config);
    for (const std::string& warning : reading.warnings)
        warn(app, path + ": " + warning);
    for (const std::string& warning : recording_warnings(statistics))
        warn(app, path + ": " + warning);
    if (!in_force || !is_recorded_under(statistics, *in_force, options))
        return std::move(statistics);

    const SlotFold fold = fold_in_force(statistics, *in_force, options.load_balancer);
    if (under != nullptr) {
        RecordedUnder& recorded = under->emplace();
        recorded.config = *in_force;
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            recorded.slot_load.push_back(recorded_load(statistics, layer));
    }
    return fold.fold(statistics);
}

std::vector<LoadSummary> recorded_summaries(const ExpertStatistics& statistics, int ep_size) {
    std::vector<LoadSummary> layers;
    layers.reserve(statistics.layers.size());
    for (int layer = 0; layer < statistics.num_layers(); ++layer)
        layers.push_back(summarize(rank_load(recorded_load(statistics, layer), ep_size)));
    return layers;
}

void keep_layers(ExpertStatistics& statistics,
                 const std::vector<int>& layers,
                 const std::string& name) {
    ExpertStatistics kept = statistics;
    kept.layers = layers;
    kept.allocate();
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const std::optional<int> found = statistics.find_layer(layers[i]);
        if (!found)
            throw Error(name + ": does not hold layer " + std::to_string(layers[i]) +
                        ", but layers " + std::to_string(statistics.layers.front()) + " to " +
                        std::to_string(statistics.layers.back()));
        for (int iteration = 0; iteration < kept.num_iterations; ++iteration)
            for (int source = 0; source < kept.num_sources; ++source) {
                const auto row = statistics.row(iteration, *found, source);
                std::copy(row.begin(), row.end(),
                          kept.row(iteration, static_cast<int>(i), source).begin());
            }
    }
    statistics = std::move(kept);
}

void add_format_option(CLI::App& app, TableFormat& format, const std::string& description) {
    add_choice(app, "--format", format,
               {{"text", TableFormat::text},
                {"csv", TableFormat::csv},
                {"json", TableFormat::json},
                {"md", TableFormat::markdown}},
               description);
}

void add_threads_option(CLI::App& app, int& num_threads) {
    app.add_option("--threads", num_threads, "Threads; results do not depend on it")
        ->type_name("N")
        ->default_str("all processors")
        ->check(positive());
}

}  // namespace eplb::cli
