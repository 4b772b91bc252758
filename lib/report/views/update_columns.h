#ifndef EPLB_REPORT_VIEWS_UPDATE_COLUMNS_H
#define EPLB_REPORT_VIEWS_UPDATE_COLUMNS_H

#include <span>

#include "lib/placement/plan/update.h"
#include "lib/report/table.h"

namespace eplb {

// Columns for plan_table(): the imbalance ratio with the placement in force, the slots that move,
// the most of them on one rank and, where it is known what an expert takes, the bytes to load.
void add_update_columns(std::span<const LayerUpdate> updates,
                        double bytes_per_expert,
                        Table& table);

}  // namespace eplb

#endif
