#ifndef EPLB_TOOLS_CLI_H
#define EPLB_TOOLS_CLI_H

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/report/text/table_writers.h"
#include "tools/given_options.h"

// Kinds of options and validators for the files that add options; no other needs the parser.
namespace eplb::cli {

// A flag in upstream's spelling, with underscores, and with hyphens:
// flag("num_slots") is "--num_slots,--num-slots".
std::string flag(const std::string& name);

// An integer in [minimum, maximum].
CLI::Validator between(std::int64_t minimum, std::int64_t maximum);

// Numbers of things: integers from 1, or from 0, to a million or so, beyond which only a slip of
// the hand goes. And ids of iterations, and seeds: integers from 0.
const CLI::Validator& positive();
const CLI::Validator& non_negative();
const CLI::Validator& id();

// Any text but none: an empty one is a shell variable that was not set.
const CLI::Validator& not_empty();

// What a std::optional holds, or the type itself.
template <typename Value>
struct ChoiceOf {
    using type = Value;
};
template <typename Value>
struct ChoiceOf<std::optional<Value>> {
    using type = Value;
};

// Takes one of some names, which its help and its error list. A std::optional has no default.
template <typename Target>
CLI::Option* add_choice(
    CLI::App& app,
    const std::string& flags,
    Target& target,
    const std::vector<std::pair<std::string, typename ChoiceOf<Target>::type>>& choices,
    const std::string& description) {
    std::string names;
    std::string default_name;
    for (const auto& [name, choice] : choices) {
        names += (names.empty() ? "" : ", ") + name;
        if (choice == target)
            default_name = name;
    }
    return app
        .add_option_function<std::string>(
            flags,
            [&target, choices, flags, names](const std::string& given) {
                for (const auto& [name, choice] : choices)
                    if (name == given) {
                        target = choice;
                        return;
                    }
                throw CLI::ValidationError(flags, "'" + given + "' is none of " + names);
            },
            description + ": " + names)
        ->type_name("NAME")
        ->default_str(default_name);
}

// An option whose text `parse` turns into the value; its errors name the option.
template <typename Value, typename Parse>
CLI::Option* add_parsed(CLI::App& app,
                        const std::string& name,
                        Value& target,
                        const Parse& parse,
                        const std::string& description) {
    return app
        .add_option_function<std::string>(
            flag(name),
            [&target, parse, name](const std::string& text) { target = parse(text, "--" + name); },
            description)
        ->check(not_empty());
}

// A real number that is 0 or more, and not infinite; and one in [1e-6, 1e6].
const CLI::Validator& non_negative_real();
const CLI::Validator& positive_real();

// Adds --format.
void add_format_option(CLI::App& app, TableFormat& format, const std::string& description);

// Adds --threads.
void add_threads_option(CLI::App& app, int& num_threads);

}  // namespace eplb::cli

#endif
