#include "tools/cli.h"

#include <algorithm>
#include <charconv>

#include "tools/typed_values.h"

namespace eplb::cli {

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

void keep_given_options(CLI::App& app, std::vector<GivenOption>& given) {
    app.parse_complete_callback([&app, &given] {
        for (const CLI::Option* const option : app.get_options())
            if (option->count() > 0)
                given.push_back(
                    {option->get_lnames().front(), option->get_group(), option->results()});
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
