#ifndef EPLB_FORMATS_STATISTICS_TRACE_LINE_H
#define EPLB_FORMATS_STATISTICS_TRACE_LINE_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// One line of a routing trace as JSON; what its members mean is routing_trace's matter.
namespace eplb {

// The members that counting needs, where they are there; others are skipped.
struct TraceLine {
    std::optional<std::string> type;
    std::optional<std::string> req_id;  // a string in its quotes, or an integer
    std::optional<std::int64_t> token_idx;
    std::optional<std::int64_t> layer;
    std::optional<std::int64_t> top_k;
    std::optional<std::vector<std::int64_t>> layers_logged;
    std::optional<std::vector<std::int64_t>> topk_ids;
    std::optional<std::size_t> num_topk_weights;
};

// Errors start with `where`. Refused are what is no JSON object, members of another type, and
// members that are needed and stand there twice.
TraceLine parse_trace_line(std::string_view text, const std::string& where);

}  // namespace eplb

#endif
