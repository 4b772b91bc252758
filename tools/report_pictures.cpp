#include "tools/report_pictures.h"

#include "lib/base/error.h"
#include "lib/report/views/heatmap.h"
#include "tools/paths.h"
#include "tools/report_views.h"
#include "tools/terminal.h"

namespace eplb {
namespace {

// Also where neither exists yet; links are followed.
}  // namespace

void check_picture_options(const ReportOptions& options) {
    if (options.heatmap && options.format != TableFormat::text)
        throw UsageError("--heatmap draws in the terminal, instead of a table; leave --format out");
    if (options.heatmap && options.html_path.empty() &&
        (options.view || !options.sort.empty() || options.top > 0 || options.precision))
        throw UsageError(
            "--heatmap takes the place of the table; leave --view, --sort, --top and --precision "
            "out");
    if (!options.html_path.empty() && cli::is_same_file(options.html_path, options.output_path))
        throw UsageError("--html " + options.html_path +
                         ": is where the report goes; the page needs a name of its own");
}

std::string heatmap_text(const ReportOptions& options,
                         const std::vector<ReportInput>& inputs,
                         ThreadPool& threads) {
    const cli::Screen screen = cli::screen_of_output(options.output_path);
    const HeatmapStyle style{
        .width = screen.width, .unicode = screen.unicode, .colour = screen.colour};
    std::string text;
    for (const Subject* const subject : compared_subjects(inputs))
        text +=
            (text.empty() ? "" : "\n") + draw_heatmap(*subject, bins_of(options), style, threads);
    return text;
}

}  // namespace eplb
