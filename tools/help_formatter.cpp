#include "tools/help_formatter.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

namespace eplb::cli {
namespace {

constexpr std::size_t kWidthWithoutTerminal = 80;
constexpr std::size_t kMinWidth = 60;
constexpr std::size_t kMaxWidth = 120;
constexpr std::size_t kDescriptionColumn = 30;

constexpr const char* kSpellings = "Options may be typed with hyphens too: --ep-size is --ep_size.";
constexpr const char* kExitStatus =
    "exit status: 0 done, 1 data or I/O, 2 usage, 3 a check failed, 130 interrupted";

std::size_t terminal_width() {
    winsize size{};
    if (::isatty(STDOUT_FILENO) == 0 || ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
        size.ws_col == 0)
        return kWidthWithoutTerminal;
    return std::clamp<std::size_t>(size.ws_col, kMinWidth, kMaxWidth);
}

// The words of a text on lines up to `width`, all but the first after `indent` spaces.
std::string wrapped(const std::string& text, std::size_t width, std::size_t indent) {
    std::istringstream words(text);
    std::string lines;
    std::size_t column = indent;
    for (std::string word; words >> word; column += word.size()) {
        if (column > indent && column + 1 + word.size() > width) {
            lines.append("\n").append(indent, ' ');
            column = indent;
        } else if (column > indent) {
            lines += ' ';
            ++column;
        }
        lines += word;
    }
    return lines;
}

bool takes_several(const CLI::Option& option) {
    return option.get_expected_max() == CLI::detail::expected_max_vector_size;
}

// Without the spellings with hyphens of names that have underscores.
std::vector<std::string> spellings(const CLI::Option& option) {
    std::vector<std::string> names = option.get_lnames();
    std::vector<std::string> hyphenated;
    for (std::string name : names) {
        if (name.find('_') == std::string::npos)
            continue;
        std::replace(name.begin(), name.end(), '_', '-');
        hyphenated.push_back(name);
    }
    names.erase(std::remove_if(names.begin(), names.end(),
                               [&](const std::string& name) {
                                   return std::find(hyphenated.begin(), hyphenated.end(), name) !=
                                          hyphenated.end();
                               }),
                names.end());
    return names;
}

// From A to Z: the set's own order, of pointers, differs from run to run.
std::string excluded_names(const CLI::Option& option) {
    std::set<std::string> names;
    for (const CLI::Option* const other : option.get_excludes())
        names.insert("--" + spellings(*other).front());
    return CLI::detail::join(names, ", ");
}

}  // namespace

HelpFormatter::HelpFormatter() : width_(terminal_width()) {
    column_width(kDescriptionColumn);
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
    return wrapped(app->get_description(), width_, 0) + "\n";
}

// CLI11 ends each group but the last with an empty line; here the usage and the positionals do too,
// and no group begins with one.
std::string HelpFormatter::make_usage(const CLI::App* app, std::string name) const {
    return CLI::Formatter::make_usage(app, std::move(name)) + "\n";
}

std::string HelpFormatter::make_positionals(const CLI::App* app) const {
    const std::string text = CLI::Formatter::make_positionals(app);
    return text.empty() ? text : text + "\n";
}

std::string HelpFormatter::make_group(std::string group,
                                      bool is_positional,
                                      std::vector<const CLI::Option*> options) const {
    return CLI::Formatter::make_group(std::move(group), is_positional, std::move(options))
        .substr(1);
}

std::string HelpFormatter::make_option_name(const CLI::Option* option, bool is_positional) const {
    if (is_positional)
        return option->get_name(true, false);
    std::string names;
    for (const std::string& name : option->get_snames())
        names += (names.empty() ? "-" : ", -") + name;
    for (const std::string& name : spellings(*option))
        names += (names.empty() ? "--" : ", --") + name;
    return names;
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
    if (option->get_type_size() == 0 || option->get_type_name().empty())
        return "";
    return " " + option->get_type_name() +
           (takes_several(*option) && option->get_allow_extra_args() ? "..." : "");
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
    std::string description = option->get_description();
    if (!is_positional && option->get_positional())
        description = "The argument " + option->get_name(true, false) + ", as an option";
    if (takes_several(*option) && !option->get_allow_extra_args())
        description += " (repeatable)";
    if (!option->get_excludes().empty())
        description += " (not with " + excluded_names(*option) + ")";
    if (option->get_type_size() != 0 && !option->get_default_str().empty())
        description += " (default: " + option->get_default_str() + ")";

    std::string text = "  " + make_option_name(option, is_positional) + make_option_opts(option);
    if (text.size() < kDescriptionColumn - 1)
        text.append(kDescriptionColumn - text.size(), ' ');
    else
        text.append("\n").append(kDescriptionColumn, ' ');
    return text + wrapped(description, width_, kDescriptionColumn) + "\n";
}

std::string HelpFormatter::make_footer(const CLI::App* app) const {
    std::string text = std::string(kSpellings) + "\n\n";
    if (!app->get_footer().empty())
        text += app->get_footer() + "\n\n";
    return text + kExitStatus + "\n";
}

}  // namespace eplb::cli
