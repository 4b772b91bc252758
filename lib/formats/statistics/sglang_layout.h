#ifndef EPLB_FORMATS_STATISTICS_SGLANG_LAYOUT_H
#define EPLB_FORMATS_STATISTICS_SGLANG_LAYOUT_H

#include <string>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"

// A key that SGLang's recorder adds to dumps whose logical_count has other dimensions than the
// usual: counts per source rank, "rank_layer_expert", have ranks where steps are expected.
namespace eplb {

constexpr const char* kSglangLayoutKey = "logical_count_layout";

[[noreturn]] inline void refuse_sglang_layout(std::string_view layout, const std::string& name) {
    throw Error(name + ": " + quoted_name(kSglangLayoutKey) + " is " + quoted_name(layout) +
                ", only [steps][layers][experts] is read; record with the modes stat or per_pass");
}

}  // namespace eplb

#endif
