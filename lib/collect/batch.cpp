#include "lib/collect/batch.h"

#include <algorithm>

namespace eplb {

Batches::Batches(const TokenSchedule& schedule, int device, int num_ranks, LoopOrder order)
    : schedule_(schedule),
      device_(device),
      num_ranks_(num_ranks),
      order_(order),
      device_of_sequence_(schedule.num_sequences()),
      sequence_of_row_(schedule.num_rows()),
      num_done_(schedule.num_sequences()),
      row_here_(schedule.num_rows()) {
    for (int s = 0; s < schedule.num_sequences(); ++s)
        std::fill(sequence_of_row_.begin() + schedule.sequence_begin[s],
                  sequence_of_row_.begin() + schedule.sequence_begin[s + 1], s);
    for (const TokenSchedule::Iteration& iteration : schedule.iterations)
        for (std::size_t rank = 0; rank + 1 < iteration.rank_begin.size(); ++rank)
            for (int i = iteration.rank_begin[rank]; i < iteration.rank_begin[rank + 1]; ++i)
                device_of_sequence_[sequence_of_row_[iteration.rows[i]]] =
                    static_cast<int>(rank) / num_ranks;
}

// The tokens of each sequence from where it stands to end[sequence].
Batch Batches::make_batch(const std::vector<std::int32_t>& end) {
    Batch batch;
    std::vector<int> rows_of_device(
        1 + *std::max_element(device_of_sequence_.begin(), device_of_sequence_.end()));
    for (int s = 0; s < schedule_.num_sequences(); ++s) {
        const std::int32_t first = schedule_.sequence_begin[s];
        const std::int32_t size = end[s] - num_done_[s];
        rows_of_device[device_of_sequence_[s]] += size;
        if (device_of_sequence_[s] != device_ || size == 0)
            continue;
        batch.pieces.push_back({s, num_done_[s], size, batch.num_rows()});
        for (std::int32_t row = first + num_done_[s]; row < first + end[s]; ++row) {
            row_here_[row] = batch.num_rows();
            batch.token_ids.push_back(schedule_.token_ids[row]);
        }
    }
    batch.most_rows = *std::max_element(rows_of_device.begin(), rows_of_device.end());
    num_done_ = end;
    return batch;
}

// Of all ranks' rows, those of this device.
Batch::Iteration Batches::cut(const TokenSchedule::Iteration& iteration, std::int64_t id) const {
    Batch::Iteration own;
    own.id = id;
    const auto first = iteration.rank_begin.begin() + device_ * num_ranks_;
    for (int rank = 0; rank <= num_ranks_; ++rank)
        own.rank_begin.push_back(first[rank] - first[0]);
    for (int i = first[0]; i < first[num_ranks_]; ++i)
        own.rows.push_back(row_here_[iteration.rows[i]]);
    return own;
}

bool Batches::next(Batch& batch) {
    const std::size_t num_iterations = schedule_.iterations.size();
    if (next_iteration_ == num_iterations)
        return false;
    const std::size_t first = next_iteration_;
    std::vector<std::int32_t> end = num_done_;
    if (order_ == LoopOrder::by_layer) {
        next_iteration_ = num_iterations;
        for (int s = 0; s < schedule_.num_sequences(); ++s)
            end[s] = schedule_.sequence_begin[s + 1] - schedule_.sequence_begin[s];
    } else {
        ++next_iteration_;
        // its tokens, and those before them that no iteration counts
        for (const std::int32_t row : schedule_.iterations[first].rows) {
            const std::int32_t s = sequence_of_row_[row];
            end[s] = std::max(end[s], row + 1 - schedule_.sequence_begin[s]);
        }
    }
    batch = make_batch(end);
    for (std::size_t i = first; i < next_iteration_; ++i)
        batch.iterations.push_back(
            cut(schedule_.iterations[i], schedule_.first_iteration + static_cast<std::int64_t>(i)));
    return true;
}

}  // namespace eplb
