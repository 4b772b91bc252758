#include "tools/report_options.h"

#include "lib/report/text/picture_text.h"
#include "tools/cli.h"
#include "tools/report_views.h"
#include "tools/typed_values.h"

namespace eplb {
namespace {

void add_view_option(CLI::App& app, ReportOptions& options) {
    std::vector<std::pair<std::string, const ReportView*>> choices;
    for (const ReportView& view : report_views())
        choices.emplace_back(view.name, &view);
    cli::add_choice(app, "--view", options.view, choices,
                    "What the table is about; by default layers, and comparison of several "
                    "statistics or configs");
}

// "  layers        how uneven each layer is …", a line for each.
std::string views_help() {
    constexpr std::size_t kWidth = 14;
    std::string text;
    for (const ReportView& view : report_views())
        text += "  " + pad_right(view.name, kWidth) + view.help + "\n";
    return text;
}

SortOrder parse_sort_order(const std::string& text, const std::string& /*option*/) {
    const bool is_reversed = text.starts_with('-');
    return {text.substr(is_reversed ? 1 : 0), is_reversed};
}

void add_table_options(CLI::App& app, ReportOptions& options) {
    cli::add_parsed(app, "layers", options.layers, cli::parse_layer_list,
                    "Only these layers, like 3,10-20")
        ->type_name("LIST");
    cli::add_parsed(
        app, "sort", options.sort, parse_sort_order,
        "Sort rows by this column of the JSON, largest first; with - before it, smallest")
        ->type_name("COLUMN");
    app.add_option("--top", options.top, "Only the first N rows")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option("--digits", options.digits,
                   "Digits after the point in text and md, 0 to 17; csv and json have all")
        ->type_name("N")
        ->check(cli::between(0, 17));
    cli::add_format_option(app, options.format, "Format of the report");
    app.add_option("-o," + cli::flag("output_path"), options.output_path,
                   "Where the report goes; - is standard output")
        ->type_name("FILE")
        ->check(cli::not_empty())
        ->capture_default_str();
}

void add_view_options(CLI::App& app, ReportOptions& options) {
    cli::add_parsed(app, "fit", options.fit, cli::parse_iteration_range,
                    "held_out: iterations of the first statistics to fit to, like 100-150")
        ->type_name("A-B");
    cli::add_parsed(app, "test", options.test, cli::parse_iteration_range,
                    "held_out: iterations of the last statistics to measure on, like 150-200")
        ->type_name("C-D");
    app.add_option(cli::flag("num_slots"), options.num_slots,
                   "held_out: slots of the placement that is fitted, where no config is given")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option(cli::flag("num_nodes"), options.num_nodes,
                   "traffic, faults: nodes, blocks of neighbouring ranks")
        ->type_name("N")
        ->check(cli::positive())
        ->capture_default_str();
    app.add_option(cli::flag("bytes_per_token"), options.bytes_per_token,
                   "traffic, rank_traffic: bytes that a token takes on its way to a rank; 0 counts "
                   "tokens")
        ->type_name("BYTES")
        ->check(cli::non_negative_real())
        ->capture_default_str();
    app.add_option(
           cli::flag("moe_share"), options.moe_share,
           "worth, on a GPU: share of an iteration's time that the experts take at the first load")
        ->type_name("SHARE")
        ->capture_default_str();
    app.add_option(cli::flag("tokens_per_second_per_rank"), options.tokens_per_second_per_rank,
                   "worth, on a GPU: throughput measured at the first load, for absolute numbers")
        ->type_name("RATE")
        ->check(cli::positive_real());
    app.add_option(cli::flag("min_speedup"), options.min_speedup,
                   "held_out: what the experts' speed-up must be to be worth it; of the fullest "
                   "rank's tokens where no GPU is given")
        ->type_name("FACTOR")
        ->check(cli::positive_real())
        ->capture_default_str();
}

}  // namespace

void add_report_options(CLI::App& app, ReportOptions& options) {
    cli::add_statistics_paths(app, options.expert_statistic_paths, "compare them");
    cli::add_statistics_options(app, options.statistics);
    app.add_option(cli::flag("projection_eplb_config_path"), options.config_paths,
                   "EPLB config, of any engine: report what its placement would make of the "
                   "recorded load; several: "
                   "compare them")
        ->type_name("FILE")
        ->allow_extra_args(false)
        ->check(cli::not_empty());
    app.add_option(cli::flag("ep_size"), options.ep_size,
                   "Ranks to report on; by default those of the recording")
        ->type_name("N")
        ->check(cli::positive());
    add_view_option(app, options);
    app.add_flag(cli::flag("per_expert"), options.per_expert,
                 "Compare experts (with a config: slots) instead of ranks");
    app.add_flag(cli::flag("equal_split"), options.equal_split,
                 "Give each replica an equal share, as upstream's report does, even where the "
                 "engine's round robin can be replayed");
    app.option_defaults()->group("Table");
    add_table_options(app, options);
    app.option_defaults()->group("Pictures");
    app.add_flag("--heatmap", options.heatmap,
                 "Draw layers x ranks in the terminal instead of a table");
    app.add_option("--html", options.html_path, "Also write a page with tables and pictures")
        ->type_name("FILE")
        ->check(cli::not_empty());
    app.option_defaults()->group("Single views");
    add_view_options(app, options);
    app.option_defaults()->group("Time");
    cli::add_time_options(app, options.time);
    app.add_option(cli::flag("tokens_per_rank"), options.tokens_per_rank,
                   "time: what an iteration of so many tokens per rank takes, drawn from those "
                   "recorded; cuts a sum into iterations")
        ->type_name("N")
        ->check(cli::positive());
    app.add_option(
           cli::flag("fit_time_profile"), options.fit_time_profile,
           "Instead of a report: fit a time profile to this table of measurements (CSV: "
           "expert_rows,time_us or rows,experts,time_us), write it and say how well it fits")
        ->type_name("TABLE.csv")
        ->check(cli::not_empty());
    app.option_defaults()->group("Options");
    app.add_option(cli::flag("max_imbalance"), options.max_imbalance,
                   "Exit with 3 where the average imbalance ratio is above: of the last recording, "
                   "under the last config; of held_out on the test")
        ->type_name("R")
        ->check(cli::non_negative_real());
    app.add_option(cli::flag("max_time"), options.max_time,
                   "Exit with 3 where the experts of all MoE layers together take longer than so "
                   "many microseconds an iteration")
        ->type_name("US")
        ->check(cli::non_negative_real());
    cli::keep_given_options(app, options.given);
    app.footer(
        "For each layer, over the ranks of an iteration and then averaged over iterations: mean\n"
        "tokens, standard deviation (n - 1), imbalance ratio (max - mean) / mean. Best 0.\n"
        "\n"
        "views:\n" +
        views_help() +
        "\n"
        "examples:\n"
        "  eplb-report expert_statistic\n"
        "  eplb-report expert_statistic --iter_start 100 --iter_stop 200 --layers 3,10-20\n"
        "  eplb-report dump.pt --first_moe_layer 3 --ep_size 32\n"
        "  eplb-report expert_statistic --projection_eplb_config_path eplb.yaml --ep_size 36\n"
        "  eplb-report before after\n"
        "  eplb-report expert_statistic --view ranks --sort max_load --top 5\n"
        "  eplb-report expert_statistic --view held_out --ep_size 36 --num_slots 288\n"
        "  eplb-report last_week today --view drift --projection_eplb_config_path eplb.yaml\n"
        "  eplb-report before --view time --gpu h200 --model_config config.json\n"
        "  eplb-report --fit_time_profile table.csv --model_config config.json -o mine.json\n"
        "  eplb-report after --max_imbalance 0.2 > /dev/null; [ $? -ne 3 ] || echo 're-place'\n"
        "  eplb-report expert_statistic --per_expert --format json -o report.json\n"
        "  eplb-report expert_statistic --html report.html --heatmap\n"
        "  eplb-collect --preset deepseek-r1 --expert_statistic_path - | eplb-report -");
}

}  // namespace eplb
