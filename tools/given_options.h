#ifndef EPLB_TOOLS_GIVEN_OPTIONS_H
#define EPLB_TOOLS_GIVEN_OPTIONS_H

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace eplb::cli {

// An option that is on the command line, in the order of --help.
struct GivenOption {
    std::string name;   // without hyphens before it
    std::string group;  // its heading in --help
    std::vector<std::string> values;
};

// Has `given` filled when the command line is parsed.
void keep_given_options(CLI::App& app, std::vector<GivenOption>& given);

}  // namespace eplb::cli

#endif
