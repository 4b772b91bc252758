#ifndef EPLB_REPORT_VIEWS_COMPARISON_FIGURES_H
#define EPLB_REPORT_VIEWS_COMPARISON_FIGURES_H

#include <span>
#include <vector>

#include "lib/report/measured_subject.h"
#include "lib/report/views/bootstrap.h"

namespace eplb {

// Whether two subjects saw the same tokens.
enum class Pairing {
    paired,       // one recording, under several configs: iterations are resampled together
    independent,  // several recordings
};

// The imbalance ratios of several sides, in the layers that all of them have, and how sure their
// differences are. Sides and layers are positions from 0.
class Comparison {
  public:
    Comparison(std::span<const MeasuredSubject* const> subjects, Pairing pairing);

    const std::vector<int>& layers() const { return layers_; }  // ids
    int num_sides() const { return static_cast<int>(sides_.size()); }
    const MeasuredSubject& subject(int side) const { return *sides_[side].subject; }
    bool has_measured_layers() const { return !measured_.empty(); }

    // NaN where one of the sides has no tokens.
    double imbalance(int side, int layer) const;
    // Over the layers with tokens on every side.
    double average_imbalance(int side) const;
    // The layer with the largest imbalance, the lowest of several; some layer has tokens.
    int worst_layer(int side) const;

    // Of the difference to side 0; NaN where too few iterations tell of it.
    Interval layer_interval(int side, int layer) const;
    Interval average_interval(int side) const { return average_interval(0, side); }
    Interval average_interval(int from, int to) const;

  private:
    struct Side {
        const MeasuredSubject* subject = nullptr;
        std::vector<const MeasuredLayer*> layers;  // those in common
        ResampledMeans resampled;                  // empty where there are too few iterations
        std::vector<bool> is_well_measured;        // [layers]
    };

    Side make_side(const MeasuredSubject& subject, std::uint64_t key) const;
    bool has_interval(int side, int layer) const;
    template <typename Figure>
    Interval interval(int from, int to, const Figure& figure) const;

    std::vector<int> layers_;
    std::vector<Side> sides_;
    std::vector<bool> has_tokens_;  // [layers], on every side
    std::vector<int> measured_;     // those layers
};

}  // namespace eplb

#endif
