#include "lib/formats/statistics/nested_counts.h"

#include "lib/base/error.h"

namespace eplb {

void NestedCounts::fail_here(const std::string& what) const {
    std::string place = '"' + key_ + '"';
    for (int list = 0; list < depth_; ++list)
        place += '[' + std::to_string(num_items_[list]) + ']';
    throw Error(name_ + ": " + place + ": " + what);
}

void NestedCounts::open_list() {
    if (!shape_.empty() && depth_ == static_cast<int>(shape_.size()))
        fail_here("a list where the lists before it hold counts");
    if (depth_ == kMaxDepth)
        fail_here("a list in a list of experts; iterations, layers and experts are the most");
    num_items_[depth_++] = 0;
}

void NestedCounts::close_list() {
    const int num_items = num_items_[--depth_];
    if (num_items == 0)
        fail_here("an empty list");
    int& expected = shape_[depth_];
    if (expected == 0)
        expected = num_items;
    if (num_items != expected)
        fail_here("a list of " + std::to_string(num_items) + ", while those before it have " +
                  std::to_string(expected) + " entries");
    if (depth_ > 0)
        add_item();
}

void NestedCounts::add(std::int64_t count) {
    if (shape_.empty())
        shape_.resize(depth_);
    if (depth_ != static_cast<int>(shape_.size()))
        fail_here("a count where the items before it are lists");
    counts_.push_back(count);
    add_item();
}

void NestedCounts::add_item() {
    if (++num_items_[depth_ - 1] > kMaxListSize)
        fail_here("more than " + std::to_string(kMaxListSize) + " entries are absurd");
}

}  // namespace eplb
