#ifndef EPLB_BASE_LARGE_PAGES_H
#define EPLB_BASE_LARGE_PAGES_H

#include <cstddef>
#include <span>

namespace eplb {

// Asks the system for pages of 2 MiB under memory that nobody has written to yet: then filling it
// takes one page fault where it takes 512 of 4 KiB. A hint, without effect where there are none.
void use_large_pages(std::span<const std::byte> memory);

}  // namespace eplb

#endif
