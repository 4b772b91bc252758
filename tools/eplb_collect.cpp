#include "tools/collect_run.h"
#include "tools/tool.h"

int main(int argc, char** argv) {
    using namespace eplb::cli;
    CollectOptions options;
    return run_tool(
        {.name = "eplb-collect",
         .description = "Run the MoE layers of a model over expert-parallel ranks and record which "
                        "experts their tokens are routed to.",
         .add_options = [&](CLI::App& app) { add_options(app, options); },
         .run =
             [&](const Output& out) {
                 check_kind(options);
                 return collect(out, options);
             }},
        argc, argv);
}
