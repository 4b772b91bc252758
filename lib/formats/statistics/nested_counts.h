#ifndef EPLB_FORMATS_STATISTICS_NESTED_COUNTS_H
#define EPLB_FORMATS_STATISTICS_NESTED_COUNTS_H

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

// Nested lists of counts as a parser meets them, one event after the other.
namespace eplb {

// More than any table has, few enough that products of sizes do not overflow.
constexpr int kMaxListSize = 1 << 20;

// Flat counts and their shape. Errors start with `name` and the place, like "logical_count"[3][17].
// Refused are empty lists, lists of different lengths and counts at different depths.
class NestedCounts {
  public:
    NestedCounts(std::string name, std::string key)
        : name_(std::move(name)), key_(std::move(key)) {}

    void open_list();
    void close_list();
    void add(std::int64_t count);

    // An Error about the item that comes next in the lists that are open.
    [[noreturn]] void fail_here(const std::string& what) const;

    // Of the lists, outermost first, each in [1, kMaxListSize]; once all are closed.
    const std::vector<int>& shape() const { return shape_; }
    std::vector<std::int64_t>& counts() { return counts_; }

  private:
    static constexpr int kMaxDepth = 3;  // iterations, layers, experts

    void add_item();

    std::string name_;
    std::string key_;
    int depth_ = 0;
    std::array<int, kMaxDepth> num_items_ = {};  // [depth_]: complete ones of each open list
    std::vector<int> shape_;  // its size is known from the first count on; 0: no list is closed yet
    std::vector<std::int64_t> counts_;
};

}  // namespace eplb

#endif
