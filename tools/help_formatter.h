#ifndef EPLB_TOOLS_HELP_FORMATTER_H
#define EPLB_TOOLS_HELP_FORMATTER_H

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace eplb::cli {

// What --help prints. scripts/make_help_pages.py reads it and makes man pages and completions:
//
//   DESCRIPTION
//   Usage: NAME [OPTIONS] [positional...]
//
//   Heading:
//     -o, --output_path FILE      Description, wrapped and indented (repeatable)
//                                 (not with --other) (default: -)
//
//   footer, whose parts are prose, and lists under "environment:", "examples:"
//
//   exit status: 0 done, …
//
// Each option has its spelling with underscores only. Lines are as wide as the terminal, from 60 to
// 120 characters, and 80 where there is none; what stands in the footer is never wrapped.
class HelpFormatter : public CLI::Formatter {
  public:
    HelpFormatter();

    std::string make_description(const CLI::App* app) const override;
    std::string make_usage(const CLI::App* app, std::string name) const override;
    std::string make_positionals(const CLI::App* app) const override;
    std::string make_group(std::string group,
                           bool is_positional,
                           std::vector<const CLI::Option*> options) const override;
    std::string make_option(const CLI::Option* option, bool is_positional) const override;
    std::string make_option_name(const CLI::Option* option, bool is_positional) const override;
    std::string make_option_opts(const CLI::Option* option) const override;
    std::string make_footer(const CLI::App* app) const override;

  private:
    std::size_t width_;
};

}  // namespace eplb::cli

#endif
