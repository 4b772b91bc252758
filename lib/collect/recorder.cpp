#include "lib/collect/recorder.h"

#include <algorithm>

namespace eplb {

Recorder::Recorder(const ExpertStatistics& shape,
                   std::int64_t iter_stop,
                   const std::string& path,
                   bool keep_ids)
    : statistics_(shape), range_{shape.iter_start, iter_stop} {
    statistics_.num_sources = statistics_.ep_size;
    statistics_.num_iterations = 0;
    statistics_.counts.clear();
    if (keep_ids) {
        routed_ids_.emplace();
        routed_ids_->top_k = shape.top_k;
        routed_ids_->ep_size = shape.ep_size;
        routed_ids_->layers = shape.layers;
        routed_ids_->iter_start = shape.iter_start;
    }
    if (path == "-") {
        output_.emplace(path);
        stream_.emplace(statistics_, *output_);
    } else {
        folder_.emplace(path);
    }
}

void Recorder::record(const IterationCounts& counts, const IterationTokens& tokens) {
    if (stream_) {
        statistics_.counts = counts.counts;
        statistics_.num_iterations = 1;
        statistics_.iter_start = range_.start + num_recorded_;
        stream_->write_iteration(statistics_, 0);
    } else {
        if (num_recorded_ == 0) {
            // growing step by step would touch the memory twice over
            constexpr std::size_t kMaxReserved = std::size_t{1} << 26;  // counts: half a gigabyte
            const auto wanted = static_cast<std::size_t>(range_.stop - range_.start);
            statistics_.counts.reserve(std::min(wanted, kMaxReserved / counts.counts.size() + 1) *
                                       counts.counts.size());
        }
        statistics_.counts.insert(statistics_.counts.end(), counts.counts.begin(),
                                  counts.counts.end());
        ++statistics_.num_iterations;
        if (routed_ids_)
            keep_ids(counts, tokens);
    }
    ++num_recorded_;
}

void Recorder::record(ExpertStatistics statistics, std::optional<RoutedIds> routed_ids) {
    num_recorded_ = statistics.num_iterations;
    if (stream_) {
        for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
            stream_->write_iteration(statistics, iteration);
    } else {
        statistics_ = std::move(statistics);
        routed_ids_ = std::move(routed_ids);
    }
}

void Recorder::keep_ids(const IterationCounts& counts, const IterationTokens& tokens) {
    const auto top_k = static_cast<std::size_t>(routed_ids_->top_k);
    const std::size_t layer_size = static_cast<std::size_t>(tokens.num_tokens()) * top_k;
    for (std::size_t layer = 0; layer < routed_ids_->layers.size(); ++layer)
        for (std::size_t rank = 0; rank + 1 < tokens.rank_begin.size(); ++rank) {
            const auto at = [&](std::size_t r) {
                return counts.slot_ids.begin() +
                       static_cast<std::ptrdiff_t>(layer * layer_size +
                                                   static_cast<std::size_t>(tokens.rank_begin[r]) *
                                                       top_k);
            };
            routed_ids_->ids.emplace_back(at(rank), at(rank + 1));
        }
    ++routed_ids_->num_iterations;
}

void Recorder::finish() {
    if (stream_) {
        stream_->write_end(num_recorded_);
        output_->commit();
    } else if (num_recorded_ > 0) {
        folder_->write(statistics_, routed_ids_ ? &*routed_ids_ : nullptr);
    }
}

}  // namespace eplb
