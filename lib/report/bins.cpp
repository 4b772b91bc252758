#include "lib/report/bins.h"

#include "lib/base/text.h"

namespace eplb {

std::string bin_name(const Subject& subject, Bins bins) {
    const bool has_slots = subject.split != ReplicaSplit::recorded || subject.ids == IdKind::slot;
    return bins == Bins::ranks ? "rank" : has_slots ? "slot" : "expert";
}

int num_bins(const Subject& subject, Bins bins) {
    return bins == Bins::ranks ? subject.ep_size : subject.num_slots();
}

std::string bins_text(const Subject& subject, Bins bins) {
    return counted(num_bins(subject, bins), bin_name(subject, bins));
}

LayerLoad bins_of(const Subject& subject, int layer, Bins bins) {
    return bins == Bins::ranks ? subject.rank_load_of(layer) : subject.slot_load[layer];
}

}  // namespace eplb
