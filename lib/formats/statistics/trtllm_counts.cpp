#include "lib/formats/statistics/trtllm_counts.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "lib/base/safetensors.h"

namespace eplb {
namespace {

void check_tensors(const SafetensorsReader& file, int num_experts) {
    for (const Tensor& tensor : file.header().tensors) {
        if (tensor.dtype != "I64" && tensor.dtype != "I32")
            fail_at_key(file.name(), tensor.name,
                        "dtype " + tensor.dtype + ", counts are I64 or I32: this is no rank file");
        if (tensor.shape.size() != 1)
            fail_at_key(file.name(), tensor.name,
                        std::to_string(tensor.shape.size()) + " dimensions, counts have one");
        if (tensor.shape[0] != num_experts)
            fail_at_key(file.name(), tensor.name,
                        std::to_string(tensor.shape[0]) + " counts where meta_info.json says " +
                            "num_experts " + std::to_string(num_experts) +
                            ": the files are of different runs; record again into an empty folder");
    }
}

// Adds to sums and gives all values or-ed together, so that one test afterwards finds a negative or
// absurd one. Unsigned, since nothing is checked yet.
template <typename Integer>
std::uint64_t add_counts(const std::byte* data, std::span<std::int64_t> sums) {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const auto value =
            static_cast<std::uint64_t>(static_cast<std::int64_t>(load_element<Integer>(data, i)));
        sums[i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(sums[i]) + value);
        bits |= value;
    }
    return bits;
}

[[noreturn]] void refuse_counts(const std::string& name,
                                const Tensor& tensor,
                                const std::byte* data) {
    const bool is_wide = tensor.dtype == "I64";
    for (std::size_t i = 0; i < static_cast<std::size_t>(tensor.shape[0]); ++i) {
        const std::int64_t value =
            is_wide ? load_element<std::int64_t>(data, i) : load_element<std::int32_t>(data, i);
        if (value < 0 || value > kMaxCount)
            fail_at_key(name, tensor.name,
                        "count " + std::to_string(value) + " at position " + std::to_string(i) +
                            " is " + (value < 0 ? "negative" : "absurd") +
                            ": the file is damaged; copy it again");
    }
    throw std::logic_error("all counts are good");
}

// Memory of one thread that reads counts.
struct CountsBuffer {
    std::vector<std::byte> bytes;   // of neighbours in a file
    std::vector<std::int64_t> row;  // one of them
};

// The cells of one iteration and rank, from file order to table order.
class CountsReader {
  public:
    CountsReader(const RankFiles& recording,
                 const TrtllmNumTokens& num_tokens,
                 ExpertStatistics& statistics,
                 RowSink* rows)
        : recording_(recording), num_tokens_(num_tokens), statistics_(statistics), rows_(rows) {
        for (int source = 0; source < recording.ep_size(); ++source)
            file_order_.push_back(source > 0 && shares_cells(source) ? file_order_.front()
                                                                     : find_file_order(source));
    }

    // iteration: a position from 0 in the statistics
    void read_iteration(int iteration, CountsBuffer& buffer) {
        for (int source = 0; source < recording_.ep_size(); ++source) {
            const std::vector<InFile>& order = *file_order_[source];
            const auto num_layers = recording_.layers.size();
            const std::span<const InFile> cells = std::span(order).subspan(
                static_cast<std::size_t>(iteration) * num_layers, num_layers);
            for (std::size_t first = 0; first < num_layers;) {
                const std::size_t size = run_length(source, cells.subspan(first));
                read_run(iteration, source, cells.subspan(first, size), buffer);
                first += size;
            }
        }
    }

  private:
    struct InFile {
        std::size_t tensor = 0;
        int layer = 0;  // position, not id
    };
    using FileOrder = std::shared_ptr<const std::vector<InFile>>;

    bool shares_cells(int source) const {
        return recording_.cells[source] == recording_.cells.front();
    }

    const Tensor& tensor(int source, const InFile& cell) const {
        return recording_.files[source].header().tensors[cell.tensor];
    }

    // [num_iterations][layers], each iteration in the order of its data
    FileOrder find_file_order(int source) const {
        std::vector<InFile> order;
        order.reserve(static_cast<std::size_t>(statistics_.num_iterations) *
                      recording_.layers.size());
        for (std::int64_t id = statistics_.iter_start; id < statistics_.iter_stop(); ++id) {
            int layer = 0;
            for (const KeyedTensor& cell : recording_.iteration(source, id))
                order.push_back({cell.tensor, layer++});
            std::sort(order.end() - layer, order.end(),
                      [](const InFile& a, const InFile& b) { return a.tensor < b.tensor; });
        }
        return std::make_shared<const std::vector<InFile>>(std::move(order));
    }

    // neighbours in the file, fetched by one read that fits into the cache
    std::size_t run_length(int source, std::span<const InFile> cells) const {
        constexpr std::size_t kMaxBytes = std::size_t{1} << 18;
        const std::size_t begin = tensor(source, cells[0]).begin;
        std::size_t size = 1;
        while (size < cells.size() && cells[size].tensor == cells[size - 1].tensor + 1 &&
               tensor(source, cells[size]).end - begin <= kMaxBytes)
            ++size;
        return size;
    }

    void read_run(int iteration, int source, std::span<const InFile> cells, CountsBuffer& buffer) {
        const SafetensorsReader& file = recording_.files[source];
        const std::size_t begin = tensor(source, cells.front()).begin;
        const std::size_t size = tensor(source, cells.back()).end - begin;
        if (buffer.bytes.size() < size)
            buffer.bytes.resize(size);
        file.read(begin, std::span(buffer.bytes).first(size));
        for (const InFile& cell : cells) {
            const Tensor& found = tensor(source, cell);
            const std::byte* const data = buffer.bytes.data() + (found.begin - begin);
            add_cell(
                file.name(), found, data,
                statistics_.row(iteration, cell.layer, statistics_.num_sources == 1 ? 0 : source));
            if (rows_ == nullptr && !num_tokens_.are_given())
                continue;
            const std::span<const std::int64_t> row = row_of(found, data, buffer.row);
            const std::int64_t iteration_id = statistics_.iter_start + iteration;
            if (num_tokens_.are_given())
                num_tokens_.check(source, iteration_id, cell.layer, statistics_.top_k,
                                  std::accumulate(row.begin(), row.end(), std::int64_t{0}));
            if (rows_ != nullptr)
                rows_->add(iteration_id, cell.layer, source, row);
        }
    }

    static void add_cell(const std::string& name,
                         const Tensor& tensor,
                         const std::byte* data,
                         std::span<std::int64_t> sums) {
        const std::uint64_t bits = tensor.dtype == "I64" ? add_counts<std::int64_t>(data, sums)
                                                         : add_counts<std::int32_t>(data, sums);
        if (bits > static_cast<std::uint64_t>(kMaxCount))
            refuse_counts(name, tensor, data);
    }

    static std::span<const std::int64_t> row_of(const Tensor& tensor,
                                                const std::byte* data,
                                                std::vector<std::int64_t>& row) {
        row.resize(tensor.shape[0]);
        if (tensor.dtype == "I64")
            std::memcpy(row.data(), data, row.size() * sizeof row[0]);
        else
            for (std::size_t i = 0; i < row.size(); ++i)
                row[i] = load_element<std::int32_t>(data, i);
        return row;
    }

    const RankFiles& recording_;
    const TrtllmNumTokens& num_tokens_;
    ExpertStatistics& statistics_;
    RowSink* rows_;                      // may be null
    std::vector<FileOrder> file_order_;  // [ep_size]
};

}  // namespace

void check_counts_tensors(const RankFiles& recording, int num_experts) {
    for (const SafetensorsReader& file : recording.files)
        if (&file == &recording.files.front() || !file.shares_header_with(recording.files.front()))
            check_tensors(file, num_experts);
}

void read_counts(const RankFiles& recording,
                 const TrtllmNumTokens& num_tokens,
                 ExpertStatistics& statistics,
                 ThreadPool& threads,
                 RowSink* rows) {
    CountsReader reader(recording, num_tokens, statistics, rows);
    // by iteration and not by rank: then no two threads add to one row
    std::vector<CountsBuffer> buffers(threads.num_threads());
    threads.for_each(statistics.num_iterations, [&](std::int64_t iteration, int thread) {
        reader.read_iteration(static_cast<int>(iteration), buffers[thread]);
    });
}

}  // namespace eplb
