#include "lib/report/views/time_table.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "lib/base/not_known.h"
#include "lib/base/setting.h"
#include "lib/base/text.h"
#include "lib/report/bins.h"
#include "lib/report/views/views.h"

namespace eplb {
namespace {

struct TimeFigure {
    TableColumn column;
    double LayerTimeSummary::*value;
};

const std::vector<TimeFigure>& time_figures() {
    static const std::vector<TimeFigure> kFigures = {
        {{"time_us", "time-us", 1}, &LayerTimeSummary::time_us},
        {{"time_us_p99", "p99-us", 1}, &LayerTimeSummary::time_us_p99},
        {{"mean_rank_time_us", "mean-rank-us", 1}, &LayerTimeSummary::mean_rank_time_us},
        {{"weights_share", "weights-share", 3}, &LayerTimeSummary::weights_share},
        {{"active_experts", "active-experts", 2}, &LayerTimeSummary::active_experts},
        {{"balanced_time_us", "balanced-us", 1}, &LayerTimeSummary::balanced_time_us},
    };
    return kFigures;
}

std::vector<Cell> mean_row(const TimedSubject& timed) {
    std::vector<Cell> row = {"average"};
    for (const TimeFigure& figure : time_figures()) {
        double sum = 0;
        int count = 0;
        for (const LayerTimeSummary& layer : timed.summaries)
            if (layer.num_iterations > 0) {
                sum += layer.*figure.value;
                ++count;
            }
        row.emplace_back(count > 0 ? sum / count : kNotKnown);
    }
    return row;
}

void describe_cost(Table& table, const TimedSubject& timed) {
    const GpuCost& gpu = timed.gpu;
    const auto add = [&](const char* key, Cell value) {
        table.context.emplace_back(key, std::move(value));
    };
    add("profile", gpu.profile.name);
    add("profile_kernel", gpu.profile.kernel);
    add("launch_us", gpu.cost.launch_us);
    add("expert_weights_us", gpu.cost.read_us);
    add("row_us", gpu.cost.row_us);
    add("knee_rows", gpu.cost.knee());
    add("moe_time_us", timed.mean_us);
    add("moe_time_us_p99", timed.p99_us);
    add("moe_balanced_time_us", timed.balanced_us);
    add("tokens_per_rank", timed.tokens_per_rank);
    add("tokens_per_second_per_gpu", timed.tokens_per_second_per_gpu());
}

// The least and largest mean of a draw.
std::pair<double, double> range_of_draws(const TimedSubject& timed, const Thinned& thinned) {
    std::pair<double, double> range = {kNotKnown, kNotKnown};
    const int length = thinned.iterations_per_draw();
    for (int draw = 0; draw < thinned.num_draws; ++draw) {
        double sum = 0;
        for (int i = 0; i < length; ++i)
            sum += timed.iteration_us[draw * length + i];
        const double mean = sum / length;
        range.first = draw == 0 ? mean : std::min(range.first, mean);
        range.second = draw == 0 ? mean : std::max(range.second, mean);
    }
    return range;
}

void describe_batch(Table& table, const TimedSubject& timed, const TimedBatch& batch) {
    const Thinned& thinned = *batch.thinned;
    const auto [low, high] = range_of_draws(timed, thinned);
    table.context.emplace_back("batch_tokens_per_rank", batch.tokens_per_rank);
    table.context.emplace_back("batch_from",
                               std::string(thinned.is_of_tokens ? "routed_ids" : "counts"));
    table.context.emplace_back("batch_iterations", thinned.iterations_per_draw());
    table.context.emplace_back("batch_draws", thinned.num_draws);
    table.context.emplace_back("moe_time_us_draw_low", low);
    table.context.emplace_back("moe_time_us_draw_high", high);
    std::string text = "Another batch than recorded: " +
                       token_number_text(static_cast<double>(batch.tokens_per_rank)) +
                       " per rank, drawn " +
                       (thinned.is_of_tokens ? "token by token from routed ids" : "from counts") +
                       ", " + counted(thinned.num_draws, "draw") + " of " +
                       counted(thinned.iterations_per_draw(), "iteration") + ": all layers take " +
                       time_text(low) + " to " + time_text(high);
    if (thinned.num_pooled > 1)
        text += "; up to " + std::to_string(thinned.num_pooled) +
                " neighbouring iterations were put together for it";
    table.notes.emplace_back(text + ".");
    if (thinned.is_cut)
        table.notes.emplace_back(
            "Warning: the one iteration of the recording is taken for a sum and cut up as if "
            "tokens "
            "came in any order; real iterations vary more.");
}

std::string change_text(double before, double after) {
    const double change = after / before - 1;
    constexpr double kLeast = 0.005;
    if (std::abs(change) < kLeast)
        return "as long";
    return fixed(100 * std::abs(change), 0) + " % " + (change < 0 ? "less" : "more");
}

}  // namespace

std::string time_text(double us) {
    constexpr double kMilli = 1e3;
    if (std::isnan(us))
        return "unknown time";
    const bool is_long = us >= kMilli;
    const double value = is_long ? us / kMilli : us;
    const int decimals = value < 10 ? 2 : value < 100 ? 1 : 0;
    return fixed(value, decimals) + (is_long ? " ms" : " us");
}

std::string token_number_text(double tokens) {
    constexpr double kMany = 100;
    return (tokens < kMany ? formatted("%.3g", tokens) : fixed(tokens, 0)) +
           (tokens == 1 ? " token" : " tokens");
}

std::string cost_text(const GpuCost& gpu) {
    return gpu.profile.name + " (t0 " + formatted("%.3g", gpu.cost.launch_us) +
           " us, an expert's weights " + formatted("%.3g", gpu.cost.read_us) + " us, a row " +
           formatted("%.3g", gpu.cost.row_us) + " us; knee at " + fixed(gpu.cost.knee(), 0) +
           " rows)";
}

std::string time_verdict(const TimedSubject& timed) {
    const int num_layers = timed.subject->num_layers();
    std::string text = (num_layers == 1 ? "The MoE layer takes "
                                        : "The " + counted(num_layers, "MoE layer") + " take ") +
                       time_text(timed.mean_us) + " an iteration on " + timed.gpu.profile.name +
                       " (p99 " + time_text(timed.p99_us) + ")";
    if (!std::isnan(timed.tokens_per_rank))
        text += ": " + token_number_text(timed.tokens_per_rank) + " per rank, at most " +
                fixed(timed.tokens_per_second_per_gpu(), 0) + " tokens per second and GPU";
    text += ". Spread evenly over all slots, the tokens would take " +
            time_text(timed.balanced_us) + ", " + change_text(timed.mean_us, timed.balanced_us);
    const int slowest = timed.slowest_layer();
    return text + "; slowest layer " + std::to_string(timed.subject->layers[slowest]) + ".";
}

Table time_table(const TimedSubject& timed, const TimedBatch* batch) {
    const Subject& subject = batch == nullptr ? *timed.subject : *batch->recorded;
    Table table;
    table.title = "Time of the experts:";
    describe_subject(table, subject, Bins::ranks);
    table.columns = {{"layer", "layer"}};
    for (const TimeFigure& figure : time_figures())
        table.columns.push_back(figure.column);
    for (int layer = 0; layer < subject.num_layers(); ++layer) {
        std::vector<Cell>& row = table.rows.emplace_back();
        row.emplace_back(subject.layers[layer]);
        const LayerTimeSummary& summary = timed.summaries[layer];
        for (const TimeFigure& figure : time_figures())
            row.emplace_back(summary.num_iterations > 0 ? summary.*figure.value : kNotKnown);
    }
    table.average = mean_row(timed);
    describe_cost(table, timed);
    table.notes.emplace_back(
        "Microseconds of the slowest of " + bins_text(subject, Bins::ranks) +
        " in an iteration, then averaged over iterations " + range_text(subject.iterations()) +
        "; weights-share: of it, where an expert's weights take longer than its rows; "
        "active-experts: those on it that have tokens; balanced: the tokens spread evenly over all "
        "slots.");
    table.notes.emplace_back("Modelled for " + cost_text(timed.gpu) +
                             ": experts alone, without attention and communication, layer after "
                             "layer.");
    if (batch != nullptr)
        describe_batch(table, timed, *batch);
    else if (subject.num_iterations == 1)
        table.notes.emplace_back("One iteration was recorded: if that is a sum of many, " +
                                 setting("tokens_per_rank") + " says what an iteration takes.");
    describe_split(table, *timed.subject);
    if (timed.has_tokens() && std::isnan(timed.tokens_per_rank))
        table.notes.emplace_back(
            "How many experts a token takes is not known, and so not how many tokens there are; " +
            setting("model_config") + " says it.");
    if (timed.has_tokens())
        table.notes.emplace_back(time_verdict(timed), Note::Kind::verdict);
    return table;
}

}  // namespace eplb
