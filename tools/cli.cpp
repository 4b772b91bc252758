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
