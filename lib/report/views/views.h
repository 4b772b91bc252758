#ifndef EPLB_REPORT_VIEWS_VIEWS_H
#define EPLB_REPORT_VIEWS_VIEWS_H

#include "lib/base/parallel.h"
#include "lib/report/bins.h"
#include "lib/report/measured_subject.h"
#include "lib/report/subject.h"
#include "lib/report/table.h"
#include "lib/report/timed_subject.h"

// The tables of one subject. Each says in its notes and context what its numbers cover. Percentiles
// are those of load_summary.h; "load" is always relative: tokens / mean over the bins, best 1.
namespace eplb {

// Pairs of iteration and layer without tokens.
std::int64_t num_empty_iterations(const Subject& subject);

// Adds what every table about a subject says of it: name, bins, num_bins, ids, num_experts, top_k,
// iter_start, iter_stop, num_empty_iterations.
void describe_subject(Table& table, const Subject& subject, Bins bins);

// Adds, under a config, how replicas share their expert's tokens: replica_split, num_source_ranks,
// and a note.
void describe_split(Table& table, const Subject& subject);

// A row per layer: TensorRT-LLM's columns first; then balancedness, p50, p90, p99 and max of the
// iterations' imbalance ratios; worst_rank, the one with most tokens over all iterations (lowest id
// on ties), its load, and the three experts with most tokens on it. Over
// several ranks it has a verdict; where the subject is timed, in microseconds too.
Table layer_table(const MeasuredSubject& subject,
                  ThreadPool& threads,
                  const TimedSubject* timed = nullptr);

// A row per percentile over the layers that have tokens; the average row is their mean.
Table percentile_table(const MeasuredSubject& subject);

// A row per bin, over layers and iterations: mean tokens per layer and iteration; load, the mean of
// the layers' (each summed over iterations), and the largest of them with its layer; fullest, the
// share of pairs of iteration and layer in which it is the fullest (lowest id on ties).
Table bin_table(const Subject& subject, Bins bins, ThreadPool& threads);

// A row per layer and expert: tokens over all iterations, their share of the layer's, load, the
// number of replicas and the ranks that hold them. Error where the experts are not known.
Table expert_table(const Subject& subject);

// A row per iteration: means over the layers that have tokens in it, and the worst layer (lowest id
// on ties). An iteration without tokens has NaN.
Table iteration_table(const Subject& subject, Bins bins, ThreadPool& threads);

}  // namespace eplb

#endif
