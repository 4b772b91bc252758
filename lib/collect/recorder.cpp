#include "lib/collect/recorder.h"

#include <algorithm>
#include <cstring>

namespace eplb {
namespace {

// of all source ranks, those of the share
ExpertStatistics cut(const ExpertStatistics& all, const RankShare& share) {
    ExpertStatistics own = all;
    own.num_sources = share.num_ranks;
    own.counts.clear();
    for (int iteration = 0; iteration < all.num_iterations; ++iteration)
        for (int layer = 0; layer < all.num_layers(); ++layer)
            for (int rank = 0; rank < share.num_ranks; ++rank) {
                const auto row = all.row(iteration, layer, share.first_rank + rank);
                own.counts.insert(own.counts.end(), row.begin(), row.end());
            }
    return own;
}

RoutedIds cut(const RoutedIds& all, const RankShare& share) {
    RoutedIds own = all;
    own.ep_size = share.num_ranks;
    own.ids.clear();
    for (int iteration = 0; iteration < all.num_iterations; ++iteration)
        for (int layer = 0; layer < static_cast<int>(all.layers.size()); ++layer)
            for (int rank = 0; rank < share.num_ranks; ++rank)
                own.ids.push_back(all.cell(iteration, layer, share.first_rank + rank));
    return own;
}

}  // namespace

Recorder::Recorder(const ExpertStatistics& shape,
                   std::int64_t iter_stop,
                   const std::string& path,
                   bool keep_ids,
                   const RankShare& share)
    : share_(share),
      is_stream_(path == "-"),
      statistics_(shape),
      range_{shape.iter_start, iter_stop} {
    statistics_.num_sources = is_stream_ ? shape.ep_size : share.num_ranks;
    statistics_.num_iterations = 0;
    statistics_.counts.clear();
    if (keep_ids) {
        routed_ids_.emplace();
        routed_ids_->top_k = shape.top_k;
        routed_ids_->ep_size = share.num_ranks;
        routed_ids_->layers = shape.layers;
        routed_ids_->iter_start = shape.iter_start;
    }
    if (!is_stream_) {
        folder_.emplace(path, share.group);
    } else if (share.group == nullptr || share.group->rank() == 0) {
        output_.emplace(path);
        stream_.emplace(statistics_, *output_);
    }
}

void Recorder::record(const IterationCounts& counts, const IterationTokens& tokens) {
    if (is_stream_) {
        stream(counts);
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

// One iteration goes out, rank 0 putting the members' ranks together.
void Recorder::stream(const IterationCounts& counts) {
    statistics_.num_iterations = 1;
    statistics_.iter_start = range_.start + num_recorded_;
    if (share_.group == nullptr) {
        statistics_.counts = counts.counts;
    } else {
        const std::vector<std::string> parts =
            share_.group->gather({reinterpret_cast<const char*>(counts.counts.data()),
                                  counts.counts.size() * sizeof(std::int64_t)});
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

void Recorder::record(ExpertStatistics statistics, std::optional<RoutedIds> routed_ids) {
    num_recorded_ = statistics.num_iterations;
    if (stream_) {
        for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
            stream_->write_iteration(statistics, iteration);
    } else if (!is_stream_ && share_.group != nullptr) {
        statistics_ = cut(statistics, share_);
        if (routed_ids)
            routed_ids_ = cut(*routed_ids, share_);
    } else if (!is_stream_) {
        statistics_ = std::move(statistics);
        routed_ids_ = std::move(routed_ids);
    }
}

void Recorder::keep_ids(const IterationCounts& counts, const IterationTokens& tokens) {
    const auto top_k = static_cast<std::ptrdiff_t>(routed_ids_->top_k);
    const auto begin = tokens.rank_begin.begin() + share_.first_rank;
    const std::ptrdiff_t num_tokens = begin[share_.num_ranks] - begin[0];
    for (std::size_t layer = 0; layer < routed_ids_->layers.size(); ++layer)
        for (int rank = 0; rank < share_.num_ranks; ++rank) {
            const auto at = [&](int r) {
                const std::ptrdiff_t token = begin[r] - begin[0];
                return counts.slot_ids.begin() +
                       (static_cast<std::ptrdiff_t>(layer) * num_tokens + token) * top_k;
            };
            routed_ids_->ids.emplace_back(at(rank), at(rank + 1));
        }
    ++routed_ids_->num_iterations;
}

void Recorder::finish() {
    if (stream_) {
        stream_->write_end(num_recorded_);
        output_->commit();
    } else if (folder_ && num_recorded_ > 0) {
        folder_->write(statistics_, routed_ids_ ? &*routed_ids_ : nullptr, share_.first_rank);
    }
}

}  // namespace eplb
