#ifndef EPLB_TOOLS_TOOL_H
#define EPLB_TOOLS_TOOL_H

#include <functional>
#include <string>

#include "tools/output.h"

namespace CLI {
class App;
}

// The frame around main() of each tool.
namespace eplb::cli {

enum ExitCode {
    kDone = 0,
    kFailed = 1,      // data or I/O
    kUsage = 2,       // the command line
    kGateFailed = 3,  // what was to be checked does not hold
    kInterrupted = 130,
};

struct Tool {
    std::string name;
    std::string description;
    std::function<void(CLI::App&)> add_options;
    std::function<int(const Output&)> run;  // gives the exit code
};

// Parses, runs, turns exceptions into "NAME: error: …" on stderr and an exit code.
int run_tool(const Tool& tool, int argc, char** argv);

}  // namespace eplb::cli

#endif
