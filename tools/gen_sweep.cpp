#include "tools/gen_sweep.h"

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/engines/engine.h"
#include "lib/placement/plan/sweep.h"
#include "lib/report/text/table_writers.h"
#include "lib/report/views/plan_table.h"
#include "tools/gen_inputs.h"
#include "tools/terminal.h"
#include "tools/tool.h"

namespace eplb {

int print_sweep(const cli::Output& out, const GenOptions& options) {
    if (options.expert_statistic_paths.empty())
        throw UsageError("--expert_statistic_path is required: a folder, a file, or -");
    ThreadPool threads(options.statistics.num_threads);
    const double bytes_per_expert = bytes_per_expert_of(options);
    const GenInputs inputs = read_inputs(out, options, threads);
    std::vector<SweepRow> rows;
    {
        cli::ProgressLine line;
        rows = sweep(
            inputs.workloads(options.weights),
            {.plan = options.request,
             .ep_sizes = options.ep_size,
             .num_slots = options.num_slots,
             .default_placement = default_engine().default_placement,
             .bytes_per_expert = bytes_per_expert},
            [&](int done, int total) {
                line.show("deployment " + std::to_string(done) + " of " + std::to_string(total));
            },
            threads);
    }
    OutputFile output("-");
    output.write(write_table(sweep_table(rows, bytes_per_expert > 0), options.format));
    output.commit();
    out.note(std::string("the imbalance is ") +
             (rows.front().is_prediction
                  ? "predicted on what was not fitted to"
                  : "that of the counts fitted to, no prediction: record iterations"));
    out.note(
        "token_ratio is the fullest rank's tokens under the engine's default assignment with the "
        "fewest slots, over those of the row, and no speed-up; * has at least 1 % fewer of them "
        "for "
        "the slots it takes");
    return cli::kDone;
}

}  // namespace eplb
