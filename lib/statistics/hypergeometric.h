#ifndef EPLB_STATISTICS_HYPERGEOMETRIC_H
#define EPLB_STATISTICS_HYPERGEOMETRIC_H

#include <cstdint>
#include <span>

#include "lib/base/random.h"

namespace eplb {

// How many of num_drawn things, drawn without putting any back from num_marked marked and
// num_others others, are marked: the hypergeometric distribution, by inversion from its mode
// outwards. All up to 2^53; num_drawn at most num_marked + num_others. Takes as many steps as the
// result is from the mode.
std::int64_t draw_hypergeometric(RandomSequence& random,
                                 std::int64_t num_marked,
                                 std::int64_t num_others,
                                 std::int64_t num_drawn);

// The same of several kinds: takes num_drawn, at most the sum of pool, out of it, and adds what it
// took of each kind to taken. Both are [kinds].
void draw_without_replacement(RandomSequence& random,
                              std::span<std::int64_t> pool,
                              std::int64_t num_drawn,
                              std::span<std::int64_t> taken);

}  // namespace eplb

#endif
