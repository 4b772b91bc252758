#include "lib/formats/trtllm_statistics.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/safetensors.h"
#include "lib/formats/rank_files.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "the files are little-endian");

constexpr const char* kMetaName = "meta_info.json";

bool is_there(const fs::path& path) {
    std::error_code ignored;
    return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
}

// ---- meta_info.json ----

struct Meta {
    int num_experts = 0;
    int top_k = 0;
    int ep_size = 0;  // 0: not given
    IdKind ids = IdKind::unstated;
    int layer_updates_per_iter = 0;
};

json parse_meta(const std::string& name) {
    const std::string text = read_file(name);
    try {
        return json::parse(text);
    } catch (const json::parse_error& error) {
        throw Error(name + ": no valid JSON at byte " + std::to_string(error.byte) +
                    ": the recording is unfinished or the file is damaged");
    }
}

int meta_integer(const json& meta, const std::string& name, const char* key, int minimum) {
    const auto found = meta.find(key);
    if (found == meta.end())
        fail_at_key(name, key, "is missing: this is no statistics folder or the file is damaged");
    const bool is_in_range = found->is_number_integer() && *found >= minimum && *found <= INT32_MAX;
    if (!is_in_range)
        fail_at_key(name, key, "must be an integer from " + std::to_string(minimum) + " on");
    return found->get<int>();
}

IdKind meta_ids(const json& meta, const std::string& name) {
    const auto found = meta.find("ids");
    if (found == meta.end())
        return IdKind::unstated;
    if (*found == "expert")
        return IdKind::expert;
    if (*found == "slot")
        return IdKind::slot;
    fail_at_key(name, "ids", R"(must be "expert" or "slot")");
}

Meta read_meta(const fs::path& folder) {
    const std::string name = (folder / kMetaName).string();
    if (!is_there(folder))
        throw Error(folder.string() + ": no such folder");
    if (!is_folder(folder))
        throw Error(folder.string() + ": is no folder");
    if (!is_there(name))
        throw Error(name + ": is missing: the recording is unfinished (it is written last) or " +
                    folder.string() + " is no statistics folder");
    const json meta = parse_meta(name);
    if (meta.is_null())
        throw Error(name + ": is null: the recorder's iteration range was empty, nothing was " +
                    "recorded; record again with start < stop");
    if (!meta.is_object())
        throw Error(name + ": must be an object with num_experts and num_experts_per_token");
    Meta result;
    result.num_experts = meta_integer(meta, name, "num_experts", 1);
    result.top_k = meta_integer(meta, name, "num_experts_per_token", 1);
    if (result.top_k > result.num_experts)
        fail_at_key(name, "num_experts_per_token", "must not exceed num_experts");
    if (meta.contains("ep_size"))
        result.ep_size = meta_integer(meta, name, "ep_size", 1);
    result.ids = meta_ids(meta, name);
    if (meta.contains("layer_updates_per_iter"))
        result.layer_updates_per_iter = meta_integer(meta, name, "layer_updates_per_iter", 0);
    return result;
}

// as Python's json.dump spells it
std::string format_meta(const ExpertStatistics& statistics) {
    std::string text = "{\"num_experts\": " + std::to_string(statistics.num_experts) +
                       ", \"num_experts_per_token\": " + std::to_string(statistics.top_k) +
                       ", \"ep_size\": " + std::to_string(statistics.ep_size);
    if (statistics.ids == IdKind::expert)
        text += ", \"ids\": \"expert\"";
    if (statistics.ids == IdKind::slot)
        text += ", \"ids\": \"slot\", \"layer_updates_per_iter\": " +
                std::to_string(statistics.layer_updates_per_iter);
    return text + "}";
}

// ---- counts ----

void check_counts_tensors(const SafetensorsReader& file, int num_experts) {
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

template <typename Integer>
Integer load(const std::byte* data, std::size_t index) {
    Integer value = 0;
    std::memcpy(&value, data + index * sizeof value, sizeof value);
    return value;
}

// Adds to sums and gives all values or-ed together, so that one test afterwards finds a negative or
// absurd one. Unsigned, since nothing is checked yet.
template <typename Integer>
std::uint64_t add_counts(const std::byte* data, std::span<std::int64_t> sums) {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < sums.size(); ++i) {
        const auto value =
            static_cast<std::uint64_t>(static_cast<std::int64_t>(load<Integer>(data, i)));
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
            is_wide ? load<std::int64_t>(data, i) : load<std::int32_t>(data, i);
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
    std::vector<std::int64_t> row;  // one of them, for a RowSink
};

// The cells of one iteration and rank, from file order to table order.
class CountsReader {
  public:
    CountsReader(const RankFiles& recording, ExpertStatistics& statistics, RowSink* rows)
        : recording_(recording), statistics_(statistics), rows_(rows) {
        for (int source = 0; source < recording.ep_size(); ++source)
            file_order_.push_back(source > 0 && shares_cells(source) ? file_order_.front()
                                                                     : find_file_order(source));
    }

    // iteration: a position from 0 in the statistics
    void read_iteration(int iteration, CountsBuffer& buffer) {
        for (int source = 0; source < recording_.ep_size(); ++source) {
            const std::vector<InFile>& order = *file_order_[static_cast<std::size_t>(source)];
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
        return recording_.cells[static_cast<std::size_t>(source)] == recording_.cells.front();
    }

    const Tensor& tensor(int source, const InFile& cell) const {
        return recording_.files[static_cast<std::size_t>(source)].header().tensors[cell.tensor];
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
        const SafetensorsReader& file = recording_.files[static_cast<std::size_t>(source)];
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
            if (rows_ != nullptr)
                rows_->add(statistics_.iter_start + iteration, cell.layer, source,
                           row_of(found, data, buffer.row));
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
        row.resize(static_cast<std::size_t>(tensor.shape[0]));
        if (tensor.dtype == "I64")
            std::memcpy(row.data(), data, row.size() * sizeof row[0]);
        else
            for (std::size_t i = 0; i < row.size(); ++i)
                row[i] = load<std::int32_t>(data, i);
        return row;
    }

    const RankFiles& recording_;
    ExpertStatistics& statistics_;
    RowSink* rows_;                      // may be null
    std::vector<FileOrder> file_order_;  // [ep_size]
};

ExpertStatistics shape_of(const Meta& meta,
                          const RankFiles& recording,
                          const StatisticsSelection& selection,
                          const std::string& folder) {
    const IterationRange range = select_iterations(selection, recording.iterations, folder);
    ExpertStatistics statistics;
    statistics.num_experts = meta.num_experts;
    statistics.top_k = meta.top_k;
    statistics.ep_size = recording.ep_size();
    statistics.layers = recording.layers;
    statistics.iter_start = range.start;
    statistics.num_iterations = static_cast<int>(range.stop - range.start);
    statistics.num_sources = selection.sum_sources ? 1 : statistics.ep_size;
    statistics.ids = meta.ids;
    statistics.layer_updates_per_iter = meta.layer_updates_per_iter;
    return statistics;
}

// ---- routed ids ----

std::vector<std::int32_t> read_ids(const SafetensorsReader& file,
                                   const Tensor& tensor,
                                   const ExpertStatistics& statistics) {
    const bool is_wide = tensor.dtype == "I64";
    if (!is_wide && tensor.dtype != "I32")
        fail_at_key(file.name(), tensor.name, "dtype " + tensor.dtype + ", ids are I32 or I64");
    if (tensor.shape.size() != 2 || tensor.shape[1] != statistics.top_k)
        fail_at_key(file.name(), tensor.name,
                    "the shape must be [num_tokens, " + std::to_string(statistics.top_k) +
                        "], as num_experts_per_token in meta_info.json says");
    std::vector<std::byte> bytes(tensor.end - tensor.begin);
    file.read(tensor.begin, bytes);
    std::vector<std::int32_t> ids(bytes.size() / (is_wide ? 8 : 4));
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const std::int64_t id =
            is_wide ? load<std::int64_t>(bytes.data(), i) : load<std::int32_t>(bytes.data(), i);
        if (id < -1 || id >= statistics.num_experts)
            fail_at_key(file.name(), tensor.name,
                        "id " + std::to_string(id) + " at position " + std::to_string(i) +
                            " is outside [-1, " + std::to_string(statistics.num_experts) + ")");
        ids[i] = static_cast<std::int32_t>(id);
    }
    return ids;
}

void count_ids(const std::vector<std::int32_t>& ids, std::vector<std::int64_t>& counted) {
    for (const std::int32_t id : ids)
        if (id >= 0)
            ++counted[static_cast<std::size_t>(id)];
}

// name: the rank's file, or the folder where all ranks were counted
void check_against_counts(const std::string& name,
                          const std::string& key,
                          const std::vector<std::int64_t>& counted,
                          std::span<const std::int64_t> counts) {
    const auto [ours, theirs] = std::mismatch(counted.begin(), counted.end(), counts.begin());
    if (ours == counted.end())
        return;
    fail_at_key(
        name, key,
        "id " + std::to_string(ours - counted.begin()) + " stands there " + std::to_string(*ours) +
            " times, the rank file counts " + std::to_string(*theirs) +
            ": the files are of different runs, or the recorder kept only the last of several "
            "chunks; remove the token_selected_experts files");
}

// All source ranks of one iteration and layer, one after the other.
class RoutedIdsReader {
  public:
    RoutedIdsReader(const RankFiles& recording, const ExpertStatistics& statistics)
        : recording_(recording), statistics_(statistics) {}

    // iteration: an id
    void read_cells(std::int64_t iteration, int layer, const RoutedIdsVisitor& visit) const {
        const int position = static_cast<int>(iteration - statistics_.iter_start);
        const bool is_summed = statistics_.num_sources == 1;
        std::vector<std::int64_t> counted(static_cast<std::size_t>(statistics_.num_experts));
        for (int source = 0; source < statistics_.ep_size; ++source) {
            const SafetensorsReader& file = recording_.files[static_cast<std::size_t>(source)];
            const Tensor& tensor = recording_.tensor(
                source, recording_.iteration(source, iteration)[static_cast<std::size_t>(layer)]);
            std::vector<std::int32_t> ids = read_ids(file, tensor, statistics_);
            count_ids(ids, counted);
            if (!is_summed || source + 1 == statistics_.ep_size)
                check_against_counts(
                    is_summed ? fs::path(file.name()).parent_path().string() : file.name(),
                    tensor.name, counted, statistics_.row(position, layer, is_summed ? 0 : source));
            if (!is_summed)
                std::fill(counted.begin(), counted.end(), 0);
            visit(iteration, layer, source, std::move(ids));
        }
    }

  private:
    const RankFiles& recording_;
    const ExpertStatistics& statistics_;
};

// ---- writing ----

std::vector<TensorToWrite> counts_to_write(const ExpertStatistics& statistics, int source) {
    std::vector<TensorToWrite> tensors;
    for (int iteration = 0; iteration < statistics.num_iterations; ++iteration)
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            tensors.push_back({key_text({statistics.iter_start + iteration,
                                         statistics.layers[static_cast<std::size_t>(layer)]}),
                               "I64",
                               {statistics.num_experts},
                               std::as_bytes(statistics.row(iteration, layer, source))});
    return tensors;
}

std::vector<TensorToWrite> ids_to_write(const RoutedIds& routed, int source) {
    std::vector<TensorToWrite> tensors;
    for (int iteration = 0; iteration < routed.num_iterations; ++iteration)
        for (int layer = 0; layer < static_cast<int>(routed.layers.size()); ++layer) {
            const std::vector<std::int32_t>& ids = routed.cell(iteration, layer, source);
            tensors.push_back({key_text({routed.iter_start + iteration,
                                         routed.layers[static_cast<std::size_t>(layer)]}),
                               "I32",
                               {static_cast<std::int64_t>(ids.size()) / routed.top_k, routed.top_k},
                               std::as_bytes(std::span(ids))});
        }
    return tensors;
}

}  // namespace

ExpertStatistics read_trtllm_statistics(const fs::path& folder,
                                        const StatisticsSelection& selection,
                                        ThreadPool& threads,
                                        RowSink* rows) {
    const Meta meta = read_meta(folder);
    const std::vector<fs::path> paths = find_rank_files(folder, kCountsPrefix);
    if (paths.empty())
        throw Error(folder.string() + ": holds no rank0.safetensors: the recording is unfinished " +
                    "or this is no statistics folder");
    if (meta.ep_size != 0 && meta.ep_size != static_cast<int>(paths.size()))
        fail_at_key((folder / kMetaName).string(), "ep_size",
                    std::to_string(meta.ep_size) + ", but the folder holds " +
                        std::to_string(paths.size()) +
                        " rank files; copy the missing ones or remove the stale ones");
    const RankFiles recording = open_rank_files(paths);
    for (const SafetensorsReader& file : recording.files)
        if (&file == &recording.files.front() || !file.shares_header_with(recording.files.front()))
            check_counts_tensors(file, meta.num_experts);

    ExpertStatistics statistics = shape_of(meta, recording, selection, folder.string());
    if (rows != nullptr)
        rows->begin(statistics);
    statistics.allocate();
    CountsReader reader(recording, statistics, rows);
    // by iteration and not by rank: then no two threads add to one row
    std::vector<CountsBuffer> buffers(static_cast<std::size_t>(threads.num_threads()));
    threads.for_each(statistics.num_iterations, [&](std::int64_t iteration, int thread) {
        reader.read_iteration(static_cast<int>(iteration),
                              buffers[static_cast<std::size_t>(thread)]);
    });
    return statistics;
}

bool has_trtllm_routed_ids(const fs::path& folder) {
    return !find_rank_files(folder, kRoutedIdsPrefix).empty();
}

void visit_trtllm_routed_ids(const fs::path& folder,
                             const ExpertStatistics& statistics,
                             ThreadPool& threads,
                             const RoutedIdsVisitor& visit) {
    if (statistics.num_sources != 1 && statistics.num_sources != statistics.ep_size)
        throw std::logic_error("routed ids are checked against counts of all source ranks");
    const RankFiles recording = open_rank_files(find_rank_files(folder, kRoutedIdsPrefix));
    check_same_recording(recording, "routed ids", statistics);
    const RoutedIdsReader reader(recording, statistics);
    threads.for_each(statistics.num_iterations, [&](std::int64_t iteration) {
        for (int layer = 0; layer < statistics.num_layers(); ++layer)
            reader.read_cells(statistics.iter_start + iteration, layer, visit);
    });
}

std::optional<RoutedIds> read_trtllm_routed_ids(const fs::path& folder,
                                                const ExpertStatistics& statistics) {
    if (statistics.num_sources != statistics.ep_size)
        throw std::logic_error("routed ids can be checked only against counts per source rank");
    if (!has_trtllm_routed_ids(folder))
        return std::nullopt;
    RoutedIds routed;
    routed.top_k = statistics.top_k;
    routed.ep_size = statistics.ep_size;
    routed.layers = statistics.layers;
    routed.iter_start = statistics.iter_start;
    routed.num_iterations = statistics.num_iterations;
    routed.ids.resize(static_cast<std::size_t>(statistics.num_iterations) *
                      statistics.layers.size() * static_cast<std::size_t>(statistics.ep_size));
    ThreadPool alone(1);
    visit_trtllm_routed_ids(
        folder, statistics, alone,
        [&](std::int64_t iteration, int layer, int source, std::vector<std::int32_t> ids) {
            routed.cell(static_cast<int>(iteration - routed.iter_start), layer, source) =
                std::move(ids);
        });
    return routed;
}

// Creates a folder with its parents and removes again what it created, unless it is to keep them.
class TrtllmStatisticsFolder::NewFolders {
  public:
    explicit NewFolders(const fs::path& folder) {
        for (fs::path path = folder; !path.empty() && !is_there(path); path = path.parent_path())
            created_.push_back(path);
        std::error_code error;
        fs::create_directories(folder, error);
        if (error)
            throw Error(folder.string() + ": cannot create the folder: " + error.message());
    }
    ~NewFolders() {
        std::error_code ignored;
        for (const fs::path& path : created_)
            fs::remove(path, ignored);  // only while it is empty
    }
    void keep() { created_.clear(); }

  private:
    std::vector<fs::path> created_;  // the deepest first
};

TrtllmStatisticsFolder::TrtllmStatisticsFolder(fs::path folder, ProcessGroup* group)
    : folder_(std::move(folder)), group_(group) {
    if (is_there(folder_) && !is_folder(folder_))
        throw Error(folder_.string() + ": is no folder; name a folder to write");
    new_folders_ = std::make_unique<NewFolders>(folder_);
    check_replaceable(folder_);
    // a file that goes away at once: it shows that files can be made here
    const OutputFile proof((folder_ / kMetaName).string());
}

TrtllmStatisticsFolder::~TrtllmStatisticsFolder() = default;

void TrtllmStatisticsFolder::wait_for_all() const {
    if (group_ != nullptr)
        group_->barrier();
}

void TrtllmStatisticsFolder::write(const ExpertStatistics& statistics,
                                   const RoutedIds* routed_ids,
                                   int first_rank) {
    if (group_ == nullptr && statistics.num_sources != statistics.ep_size)
        throw std::logic_error("a statistics folder holds the counts of each source rank");
    std::vector<OutputFile> files;
    files.reserve(2 * static_cast<std::size_t>(statistics.num_sources));  // they must not move
    const auto make_ready = [&](std::string_view prefix, int source,
                                std::vector<TensorToWrite> tensors) {
        files.emplace_back(rank_path(folder_, prefix, first_rank + source).string());
        write_safetensors(files.back(), std::move(tensors));
        files.back().sync();
    };
    for (int source = 0; source < statistics.num_sources; ++source) {
        make_ready(kCountsPrefix, source, counts_to_write(statistics, source));
        if (routed_ids != nullptr)
            make_ready(kRoutedIdsPrefix, source, ids_to_write(*routed_ids, source));
    }
    std::optional<OutputFile> meta;
    if (is_first()) {
        meta.emplace((folder_ / kMetaName).string());
        meta->write(format_meta(statistics));
        meta->sync();
    }

    // from here on the folder has no meta file, so that a reader never takes a half swapped folder
    // for a whole one
    wait_for_all();
    std::error_code ignored;
    if (is_first())
        remove_file(fs::weakly_canonical(folder_ / kMetaName, ignored));  // a link stays
    wait_for_all();
    for (OutputFile& file : files)
        file.commit();
    new_folders_->keep();
    wait_for_all();
    if (is_first()) {
        remove_rank_files(folder_, kCountsPrefix, statistics.ep_size);
        remove_rank_files(folder_, kRoutedIdsPrefix,
                          routed_ids == nullptr ? 0 : statistics.ep_size);
        meta->commit();
    }
    wait_for_all();  // nobody is done before the folder is
}

}  // namespace eplb
