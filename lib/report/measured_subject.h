#ifndef EPLB_REPORT_MEASURED_SUBJECT_H
#define EPLB_REPORT_MEASURED_SUBJECT_H

#include <map>
#include <string>
#include <vector>

#include "lib/base/parallel.h"
#include "lib/placement/route/load_summary.h"
#include "lib/report/bins.h"
#include "lib/report/subject.h"

// What tables and pictures of a subject begin with.
namespace eplb {

struct MeasuredLayer {
    int layer = 0;  // model layer id
    LoadSummary summary;
    std::vector<double> totals;  // [num_bins]: tokens over all iterations
    double mean = 0;             // of totals; 0: a layer without tokens
    // [num_iterations], tokens of a bin; NaN where there are none
    std::vector<double> mean_load;
    std::vector<double> max_load;

    int num_bins() const { return static_cast<int>(totals.size()); }
    bool has_tokens() const { return mean > 0; }
    // A bin's total / mean, best 1; 0 in a layer without tokens.
    double relative(int bin) const { return has_tokens() ? totals[bin] / mean : 0; }
    // Of one iteration; NaN without tokens, 0 for a single bin.
    double imbalance_ratio(int iteration) const;
};

struct MeasuredSubject {
    const Subject* subject = nullptr;
    Bins bins = Bins::ranks;
    std::vector<MeasuredLayer> layers;  // as the subject's
    LoadSummary average;                // over the layers that have tokens

    int num_layers() const { return static_cast<int>(layers.size()); }
    int num_bins() const { return eplb::num_bins(*subject, bins); }
    std::string bin_name() const { return eplb::bin_name(*subject, bins); }
    bool has_tokens() const { return average.num_iterations > 0; }
    // Of a layer that the subject has.
    const MeasuredLayer& layer_of(int layer_id) const;
    // The layer with the highest imbalance ratio, the lowest id of several; null where none has
    // tokens.
    const MeasuredLayer* worst() const;
};

// The subject must outlive it.
MeasuredSubject measure(const Subject& subject, Bins bins, ThreadPool& threads);

// Subjects measured over bins of one kind, each when it is first asked for. They must outlive it.
class Measurements {
  public:
    Measurements(Bins bins, ThreadPool& threads) : bins_(bins), threads_(threads) {}

    Bins bins() const { return bins_; }
    ThreadPool& threads() const { return threads_; }
    const MeasuredSubject& of(const Subject& subject);

  private:
    Bins bins_;
    ThreadPool& threads_;
    std::map<const Subject*, MeasuredSubject> measured_;
};

}  // namespace eplb

#endif
