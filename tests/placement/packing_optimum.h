#ifndef EPLB_TESTS_PLACEMENT_PACKING_OPTIMUM_H
#define EPLB_TESTS_PLACEMENT_PACKING_OPTIMUM_H

#include <vector>

namespace eplb::test {

// The least load that the fullest rank can have where every slot holds another expert: `load` are
// ep_size * slots_per_rank loads, none below 0. Exact, by branch and bound; milliseconds for 24
// experts in two to four slots per rank, at most 32 experts.
double packing_optimum(const std::vector<double>& load, int ep_size);

// The same with two slots per rank, any number of experts: the heaviest goes with the lightest, and
// so on. (Of two ranks that hold a >= b >= c >= d no pairing is less full than a + d and b + c.)
double pairing_optimum(std::vector<double> load);

}  // namespace eplb::test

#endif
