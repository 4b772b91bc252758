#include "lib/collect/recorder.h"

#include <algorithm>
#include <cstring>

namespace eplb {

Recorder::Recorder(const ExpertStatistics& shape,
                   const IterationRange& range,
                   const std::string& path,
                   bool keep_ids,
                   int first_rank,
                   ProcessGroup* group)
    : first_rank_(first_rank),
      group_(group),
      is_stream_(path == "-"),
      statistics_(shape),
      range_(range) {
    statistics_.iter_start = range.start;
    statistics_.num_iterations = 0;
    statistics_.counts.clear();
    if (keep_ids) {
        routed_ids_.emplace();
        routed_ids_->top_k = shape.top_k;
        routed_ids_->ep_size = shape.num_sources;
        routed_ids_->layers = shape.layers;
        routed_ids_->iter_start = range.start;
    }
    if (!is_stream_) {
        folder_.emplace(path, group);
        return;
    }
    statistics_.num_sources = shape.ep_size;
    if (group == nullptr || group->rank() == 0) {
        output_.emplace(path);
        stream_.emplace(statistics_, *output_);
    }
}

void Recorder::record(BatchCounts& batch) {
    ExpertStatistics& counted = batch.statistics;
    const auto first = static_cast<int>(
        std::clamp<std::int64_t>(range_.start - counted.iter_start, 0, counted.num_iterations));
    const auto last = static_cast<int>(
        std::clamp<std::int64_t>(range_.stop - counted.iter_start, first, counted.num_iterations));
    if (is_stream_) {
        for (int iteration = first; iteration < last; ++iteration)
            stream(counted, iteration);
        return;
    }
    num_recorded_ += last - first;
    statistics_.num_iterations += last - first;
    const std::size_t size =
        counted.counts.size() / static_cast<std::size_t>(counted.num_iterations);
    if (statistics_.counts.empty() && counted.num_iterations > 1) {
        // all at once, which may be large
        statistics_.counts = std::move(counted.counts);
        statistics_.counts.resize(static_cast<std::size_t>(last) * size);
        statistics_.counts.erase(
            statistics_.counts.begin(),
            statistics_.counts.begin() +
                static_cast<std::ptrdiff_t>(static_cast<std::size_t>(first) * size));
    } else if (last > first) {
        if (statistics_.counts.empty()) {
            // growing step by step would touch the memory twice over
            constexpr std::size_t kMaxReserved = std::size_t{1} << 26;  // counts: half a gigabyte
            const auto wanted = static_cast<std::size_t>(range_.stop - range_.start);
            statistics_.counts.reserve(std::min(wanted, kMaxReserved / size + 1) * size);
        }
        const auto begin = counted.counts.begin();
        statistics_.counts.insert(
            statistics_.counts.end(),
            begin + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(first) * size),
            begin + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(last) * size));
    }
    if (routed_ids_) {
        const auto cells = static_cast<std::ptrdiff_t>(counted.layers.size()) * counted.num_sources;
        routed_ids_->num_iterations += last - first;
        const auto begin = std::make_move_iterator(batch.routed->ids.begin());
        routed_ids_->ids.insert(routed_ids_->ids.end(), begin + first * cells,
                                begin + last * cells);
    }
}

// One iteration goes out, rank 0 putting the members' ranks together.
void Recorder::stream(const ExpertStatistics& batch, int iteration) {
    const std::size_t size = batch.counts.size() / static_cast<std::size_t>(batch.num_iterations);
    const auto counts =
        std::span(batch.counts).subspan(static_cast<std::size_t>(iteration) * size, size);
    statistics_.num_iterations = 1;
    statistics_.iter_start = batch.iter_start + iteration;
    ++num_recorded_;
    if (group_ == nullptr) {
        statistics_.counts.assign(counts.begin(), counts.end());
    } else {
        const std::vector<std::string> parts =
            group_->gather({reinterpret_cast<const char*>(counts.data()), counts.size_bytes()});
        if (!stream_)
            return;
        // [layers][ranks of a member][slots] each, into [layers][ep_size][slots]
        statistics_.allocate();
        const std::size_t layer_bytes = parts.front().size() / statistics_.layers.size();
        auto* to = reinterpret_cast<char*>(statistics_.counts.data());
        for (std::size_t layer = 0; layer < statistics_.layers.size(); ++layer)
            for (const std::string& part : parts) {
                std::memcpy(to, part.data() + layer * layer_bytes, layer_bytes);
                to += layer_bytes;
            }
    }
    stream_->write_iteration(statistics_, 0);
}

void Recorder::finish() {
    if (stream_) {
        stream_->write_end(num_recorded_);
        output_->commit();
    } else if (folder_ && num_recorded_ > 0) {
        folder_->write(statistics_, routed_ids_ ? &*routed_ids_ : nullptr, first_rank_);
    }
}

}  // namespace eplb
