#include <vector>

#include "lib/statistics/selection.h"
#include "tests/test_support.h"

namespace eplb::test_selection {

using eplb::test::error_of;

TEST_CASE("some layers are kept with their counts") {
    ExpertStatistics statistics;
    statistics.num_experts = 2;
    statistics.ep_size = statistics.num_sources = 2;
    statistics.layers = {3, 4, 7};
    statistics.num_iterations = 2;
    for (int i = 0; i < 24; ++i)
        statistics.counts.push_back(i);

    ExpertStatistics kept = statistics;
    keep_layers(kept, {3, 7}, "stats");
    CHECK(kept.layers == std::vector<int>{3, 7});
    CHECK(kept.counts ==
          std::vector<std::int64_t>{0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23});
    keep_layers(kept, {3, 7}, "stats");
    CHECK(kept.counts.size() == 16);
    CHECK(error_of([&] { keep_layers(kept, {4}, "stats"); }) ==
          "stats: does not hold layer 4, but layers 3 to 7");
}

}  // namespace eplb::test_selection
