#include "tools/report_pictures.h"

#include "lib/base/error.h"
#include "lib/report/views/heatmap.h"
#include "tools/paths.h"
#include "tools/terminal.h"

namespace eplb {

void check_picture_options(const ReportOptions& options) {
    if (options.heatmap && options.format != TableFormat::text)
        throw UsageError("--heatmap draws in the terminal, instead of a table; leave --format out");
    if (options.heatmap && options.html_path.empty() &&
        (options.view != nullptr || options.sort || options.top > 0 || options.digits))
        throw UsageError(
            "--heatmap takes the place of the table; leave --view, --sort, --top and --digits out");
    if (!options.html_path.empty() && cli::is_same_file(options.html_path, options.output_path))
        throw UsageError("--html " + options.html_path +
                         ": is where the report goes; the page needs a name of its own");
}

std::string heatmap_text(const ViewInput& input) {
    const cli::Screen screen = cli::screen_of_output(input.options.output_path);
    const HeatmapStyle style{
        .width = screen.width, .unicode = screen.unicode, .colour = screen.colour};
    std::string text;
    for (const MeasuredSubject* const subject : input.all_measured())
        text += (text.empty() ? "" : "\n") + draw_heatmap(*subject, style);
    return text;
}

}  // namespace eplb
