#ifndef EPLB_REPORT_VIEWS_FAULT_TABLE_H
#define EPLB_REPORT_VIEWS_FAULT_TABLE_H

#include "lib/report/subject.h"
#include "lib/report/table.h"

namespace eplb {

// What is lost if one rank dies; with num_nodes > 1 (blocks of neighbouring ranks), if one node
// does. A row for each: lost_experts (pairs of layer and expert that have no replica elsewhere),
// lost_share (of all recorded routed ids, 0 to 1; best 0), and of the layer in which most ids are
// lost, worst_layer and lost_in_worst_layer (expert ids): empty where nothing is lost. Equals: the
// layer with more experts lost, then the lower one.
// Error: the subject knows no experts, num_nodes does not divide ep_size.
Table fault_table(const Subject& subject, int num_nodes = 1);

}  // namespace eplb

#endif
