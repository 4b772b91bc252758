#include "tools/tool.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <iostream>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "tools/help_formatter.h"
#include "tools/version.h"

namespace eplb::cli {
namespace {

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

}  // namespace

int run_tool(const Tool& tool, int argc, char** argv) {
    const Output output(tool.name);
    // a field of the library is the option of its name
    name_settings([](std::string_view field) { return "--" + std::string(field); });
    const auto fail = [&](const char* what, int exit_code) {
        output.note(
            std::string("error: ") + what +
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
        return tool.run(output);
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

}  // namespace eplb::cli
