#ifndef EPLB_REPORT_VIEWS_H
#define EPLB_REPORT_VIEWS_H

#include "lib/base/parallel.h"
#include "lib/report/subject.h"
#include "lib/report/table.h"

// The tables of one subject. Each says in its notes and context what its numbers cover.
namespace eplb {

enum class Bins {
    ranks,
    slots,  // experts, where there is no config
};

// Context of every table about a subject: bins, num_bins, ids, num_experts, top_k, iter_start,
// iter_stop, num_empty_iterations, and replica_split where there is a config.
void describe_subject(Table& table, const Subject& subject, Bins bins);

// A row per layer: TensorRT-LLM's columns first. With replicas, "optimal_split" is what the best
// division of each iteration's tokens among replicas could reach.
Table layer_table(const Subject& subject, Bins bins, ThreadPool& threads);

// A row per bin: over layers and iterations.
Table bin_table(const Subject& subject, Bins bins, ThreadPool& threads);

// A row per layer and expert. Error where the experts are not known.
Table expert_table(const Subject& subject);

// A row per iteration, means over the layers that have tokens in it.
Table iteration_table(const Subject& subject, Bins bins, ThreadPool& threads);

// A row per percentile, over layers.
Table percentile_table(const Subject& subject, Bins bins, ThreadPool& threads);

}  // namespace eplb

#endif
