#include "lib/report/views/speedup.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/not_known.h"
#include "lib/base/text.h"
#include "lib/report/views/bootstrap.h"
#include "lib/report/views/common_layers.h"
#include "lib/report/views/time_change.h"
#include "lib/report/views/time_table.h"

namespace eplb {
namespace {

// mean over iterations with tokens; NaN where there are none
std::vector<double> means_of(const IterationSeries& series) {
    std::vector<double> sums(series.num_series);
    std::vector<int> counts(sums.size());
    for (std::size_t i = 0; i < series.values.size(); ++i)
        if (!std::isnan(series.values[i])) {
            sums[i % sums.size()] += series.values[i];
            ++counts[i % sums.size()];
        }
    for (std::size_t s = 0; s < sums.size(); ++s)
        sums[s] = counts[s] > 0 ? sums[s] / counts[s] : kNotKnown;
    return sums;
}

// [layers], of one subject.
struct RankTokens {
    std::vector<double> mean;  // tokens of a rank
    std::vector<double> max;   // of the fullest rank
};

// Per iteration.
struct Side {
    IterationSeries mean_load;
    IterationSeries max_load;

    Side(const MeasuredSubject& subject, std::span<const int> layer_ids)
        : mean_load(series_of(subject,
                              layer_ids,
                              [](const MeasuredLayer& layer, int iteration) {
                                  return layer.mean_load[iteration];
                              })),
          max_load(series_of(subject, layer_ids, [](const MeasuredLayer& layer, int iteration) {
              return layer.max_load[iteration];
          })) {}

    RankTokens tokens() const { return {means_of(mean_load), means_of(max_load)}; }
    bool has_interval() const { return num_measured(max_load) >= kLeastIterations; }
};

// The same, again and again.
struct ResampledTokens {
    ResampledMeans mean;
    ResampledMeans max;

    ResampledTokens(const Side& side, std::uint64_t key)
        : mean(resample_means(side.mean_load, key)), max(resample_means(side.max_load, key)) {}

    RankTokens tokens(int resample) const {
        RankTokens tokens;
        for (int layer = 0; layer < mean.num_series; ++layer) {
            tokens.mean.push_back(mean.mean(resample, layer));
            tokens.max.push_back(max.mean(resample, layer));
        }
        return tokens;
    }
};

// of the fullest rank after, where ranks have as many tokens as before
double scaled_max(const RankTokens& before,
                  const std::optional<RankTokens>& after,
                  std::size_t layer) {
    if (!after)
        return before.mean[layer];
    return after->max[layer] * before.mean[layer] / after->mean[layer];
}

// Of the layers' fullest ranks added up; those that are not known on both sides are left out.
double total_token_ratio(const RankTokens& before, const std::optional<RankTokens>& after) {
    double sum_before = 0;
    double sum_after = 0;
    for (std::size_t layer = 0; layer < before.max.size(); ++layer) {
        const double max = scaled_max(before, after, layer);
        if (std::isnan(max) || std::isnan(before.max[layer]))
            continue;
        sum_before += before.max[layer];
        sum_after += max;
    }
    return sum_after > 0 ? sum_before / sum_after : kNotKnown;
}

// Of the total; none where there are too few iterations.
std::optional<Interval> token_ratio_interval(const Side& before,
                                             const std::optional<Side>& after,
                                             Pairing pairing) {
    if (!before.has_interval() || (after && !after->has_interval()))
        return {};
    const ResampledTokens resampled(before, 0);
    std::optional<ResampledTokens> resampled_after;
    int num_blocks = resampled.mean.num_blocks;
    if (after) {
        resampled_after.emplace(*after, pairing == Pairing::paired ? 0 : 1);
        num_blocks = std::min(num_blocks, resampled_after->mean.num_blocks);
    }
    std::vector<double> ratios;
    ratios.reserve(kNumResamples);
    for (int resample = 0; resample < kNumResamples; ++resample) {
        std::optional<RankTokens> tokens_after;
        if (resampled_after)
            tokens_after = resampled_after->tokens(resample);
        ratios.push_back(total_token_ratio(resampled.tokens(resample), tokens_after));
    }
    return percentile_interval(std::move(ratios), num_blocks);
}

// rate: tokens per second and rank before.
void add_throughput(
    Table& table, int ep_size_before, int ep_size_after, double rate, double model_speedup) {
    const double rate_after = rate * model_speedup;
    const double total_before = rate * ep_size_before;
    const double total_after = rate_after * ep_size_after;
    table.context.emplace_back("tokens_per_second_per_rank_before", rate);
    table.context.emplace_back("tokens_per_second_per_rank_after", rate_after);
    table.context.emplace_back("tokens_per_second_before", total_before);
    table.context.emplace_back("tokens_per_second_after", total_after);
    table.notes.emplace_back(
        "Tokens per second and rank: " + fixed(rate, 0) + " -> " + fixed(rate_after, 0) +
            "; on all " + counted(ep_size_after, "rank") + ": " + fixed(total_before, 0) +
            (ep_size_after == ep_size_before ? ""
                                             : " (on " + std::to_string(ep_size_before) + ")") +
            " -> " + fixed(total_after, 0) + ".",
        Note::Kind::verdict);
}

// Mean over iterations of a layer; perfect balance where there is no other side.
double layer_us(const TimedSubject& before, const TimedSubject* after, int layer_id) {
    const TimedSubject& timed = after == nullptr ? before : *after;
    const LayerTimeSummary& summary = timed.summaries[timed.position_of(layer_id)];
    if (summary.num_iterations == 0)
        return kNotKnown;
    return after == nullptr ? summary.balanced_time_us : summary.time_us;
}

void add_time_columns(Table& table,
                      const TimedSubject& before,
                      const TimedSubject* after,
                      const std::vector<int>& layer_ids) {
    table.columns.push_back({"time_us_before", "us-before", 1});
    table.columns.push_back({"time_us_after", "us-after", 1});
    table.columns.push_back({"speedup", "speedup"});
    double sum_before = 0;
    double sum_after = 0;
    int count = 0;
    for (std::size_t i = 0; i < layer_ids.size(); ++i) {
        const double from = layer_us(before, &before, layer_ids[i]);
        const double to = layer_us(before, after, layer_ids[i]);
        table.rows[i].insert(table.rows[i].end(), {from, to, from / to});
        if (std::isnan(from) || std::isnan(to))
            continue;
        sum_before += from;
        sum_after += to;
        ++count;
    }
    const double num_known = count > 0 ? count : kNotKnown;
    table.average.insert(table.average.end(),
                         {sum_before / num_known, sum_after / num_known, sum_before / sum_after});
}

// Of perfect balance there is no interval: it is what the same iterations could be.
TimeChange change_to(const TimedSubject& before,
                     const TimedSubject* after,
                     const std::vector<int>& layer_ids,
                     Pairing pairing) {
    if (after != nullptr)
        return time_change(before, *after, layer_ids, pairing);
    TimeChange change;
    change.before_us = before.mean_us;
    change.after_us = before.balanced_us;
    return change;
}

void add_worth_times(Table& table,
                     const WorthSide& before,
                     const WorthSide& after,
                     const std::vector<int>& layer_ids,
                     Pairing pairing,
                     const WorthOptions& options) {
    const TimedSubject& timed = *before.timed;
    add_time_columns(table, timed, after.timed, layer_ids);
    const TimeChange change = change_to(timed, after.timed, layer_ids, pairing);
    const double speedup = change.before_us / change.after_us;
    const double model_speedup = whole_speedup(options.moe_share, speedup);
    table.context.insert(table.context.end(), {{"profile", timed.gpu.profile.name},
                                               {"moe_time_us_before", change.before_us},
                                               {"moe_time_us_after", change.after_us},
                                               {"moe_speedup", speedup},
                                               {"moe_share", options.moe_share},
                                               {"model_speedup", model_speedup}});
    if (change.speedup) {
        table.context.emplace_back("moe_speedup_low", change.speedup->low);
        table.context.emplace_back("moe_speedup_high", change.speedup->high);
    }
    table.notes.emplace_back("Modelled for " + cost_text(timed.gpu) +
                             ": layers run one after another, nothing overlaps, communication "
                             "stays as it is.");
    if (std::isnan(speedup))
        return;
    const int num_layers = static_cast<int>(layer_ids.size());
    const std::string what =
        after.timed != nullptr
            ? time_change_text(timed, *after.timed, num_layers, change)
            : "on " + timed.gpu.profile.name + " " + counted(num_layers, "MoE layer") + " take " +
                  time_text(change.before_us) + " an iteration, with the tokens spread evenly " +
                  time_text(change.after_us);
    const std::string verdict =
        what + ": " + fixed(speedup, 3) + " times as fast" +
        (change.speedup
             ? " (" + fixed(change.speedup->low, 3) + " to " + fixed(change.speedup->high, 3) + ")"
             : "") +
        "; where they take " + fixed(100 * options.moe_share, 0) +
        " % of the time, the model gets " + fixed(model_speedup, 3) + " times as fast";
    table.notes.emplace_back(sentence(verdict), Note::Kind::verdict);
    if (after.timed != nullptr)
        table.notes.back().headline = "1 -> 2: " + verdict + ".";
    if (options.tokens_per_second_per_rank > 0)
        add_throughput(table, timed.subject->ep_size,
                       (after.timed == nullptr ? timed : *after.timed).subject->ep_size,
                       options.tokens_per_second_per_rank, model_speedup);
}

}  // namespace

double whole_speedup(double moe_share, double speedup) {
    return 1 / (1 - moe_share + moe_share / speedup);
}

Table worth_table(const WorthSide& before,
                  const WorthSide& after,
                  Pairing pairing,
                  const WorthOptions& options) {
    if (!(options.moe_share > 0 && options.moe_share <= 1))
        throw Error("moe_share " + fixed(options.moe_share, 3) +
                    " is not a share; give one above 0 and up to 1");
    std::vector<const Subject*> subjects = {before.measured->subject};
    if (after.measured != nullptr)
        subjects.push_back(after.measured->subject);
    const std::vector<int> layers = common_layers(subjects);
    const Side side_before(*before.measured, layers);
    std::optional<Side> side_after;
    if (after.measured != nullptr)
        side_after.emplace(*after.measured, layers);
    const RankTokens tokens_before = side_before.tokens();
    std::optional<RankTokens> tokens_after;
    if (side_after)
        tokens_after = side_after->tokens();

    Table table;
    table.title = before.timed == nullptr ? "Tokens of the fullest rank:"
                                          : "Estimated speed-up of the MoE layers:";
    table.columns = {{"layer", "layer"},
                     {"mean_tokens", "mean-tokens"},
                     {"max_tokens_before", "max-before"},
                     {"max_tokens_after", "max-after"},
                     {"token_ratio", "token-ratio"}};
    double mean_sum = 0;
    double before_sum = 0;
    double after_sum = 0;
    int count = 0;
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
        const double max_before = tokens_before.max[layer];
        const double max_after = scaled_max(tokens_before, tokens_after, layer);
        table.rows.push_back({layers[layer], tokens_before.mean[layer], max_before, max_after,
                              max_before / max_after});
        if (std::isnan(max_before) || std::isnan(max_after))
            continue;
        mean_sum += tokens_before.mean[layer];
        before_sum += max_before;
        after_sum += max_after;
        ++count;
    }
    const double ratio = total_token_ratio(tokens_before, tokens_after);
    const double num_known = count > 0 ? count : kNotKnown;
    table.average = {"average", mean_sum / num_known, before_sum / num_known, after_sum / num_known,
                     ratio};

    const std::string perfect = "perfect balance";
    table.context = {{"name_before", subjects.front()->name},
                     {"name_after", after.measured == nullptr ? perfect : subjects.back()->name},
                     {"ep_size_before", subjects.front()->ep_size},
                     {"ep_size_after", subjects.back()->ep_size},
                     {"token_ratio", ratio}};
    const auto on_ranks = [](const Subject& subject) {
        return subject.name + ", " + bins_text(subject, Bins::ranks);
    };
    table.notes = {
        "Before: " + on_ranks(*subjects.front()) +
            ". After: " + (after.measured == nullptr ? perfect : on_ranks(*subjects.back())) + ".",
        "Max: tokens of the fullest rank of an iteration, a mean over iterations, at equally many "
        "tokens per rank. The average's ratio is that of the sums over layers."};
    if (after.measured != nullptr && pairing == Pairing::paired)
        table.notes.emplace_back(fitted_note());
    if (const std::string missing = missing_layers_note(subjects); !missing.empty())
        table.notes.emplace_back(missing);
    const std::optional<Interval> interval = token_ratio_interval(side_before, side_after, pairing);
    if (interval) {
        table.context.emplace_back("token_ratio_low", interval->low);
        table.context.emplace_back("token_ratio_high", interval->high);
    }
    const std::string verdict = "the fullest rank has " + fixed(ratio, 3) +
                                " times the tokens that it has " +
                                (after.measured == nullptr ? "with " + perfect : "after") +
                                (interval ? " (95 % interval: " + fixed(interval->low, 3) + " to " +
                                                fixed(interval->high, 3) + ")"
                                          : std::string(" (too few iterations for an interval)"));
    const std::string alone = before.timed == nullptr ? " " + tokens_alone_note() : "";
    table.notes.emplace_back(sentence(verdict) + alone, Note::Kind::verdict);
    if (after.measured != nullptr)
        table.notes.back().headline = "1 -> 2: " + verdict + "." + alone;
    if (before.timed != nullptr)
        add_worth_times(table, before, after, layers, pairing, options);
    return table;
}

}  // namespace eplb
