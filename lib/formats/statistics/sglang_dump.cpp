#include "lib/formats/statistics/sglang_dump.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/quoted_name.h"
#include "lib/formats/statistics/sglang_layout.h"
#include "lib/statistics/selection.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;
using Kind = PickleValue::Kind;

// More layers, slots or ranks than any deployment has.
constexpr std::int64_t kMaxDimension = 1 << 20;

const char* const kStatKey = "logical_count";
const char* const kPassesKey = "records";
const char* const kMapKey = "last_physical_to_logical_map";
const char* const kCountKey = "global_physical_count";

[[noreturn]] void fail(const TorchFile& file, const std::string& what) {
    throw Error(file.name() + ": " + what);
}

const PickleValue& require_key(const TorchFile& file,
                               const PickleValue& dict,
                               const std::string& key,
                               const std::string& subject) {
    const PickleValue* const value = find_key(dict, key);
    if (value == nullptr)
        fail(file, subject + "has no " + quoted_name(key) +
                       ": this is no dump of SGLang's recorder, or one of another version");
    return *value;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text = "[";
    for (const std::int64_t size : shape)
        text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    return text + "]";
}

// `expected` is the shape in words.
void check_shape(const TorchFile& file,
                 const TorchTensor& tensor,
                 const std::string& expected,
                 std::size_t num_dimensions,
                 const std::string& subject) {
    const std::string shape = subject + ": the shape is " + shape_text(tensor.shape);
    if (tensor.shape.size() != num_dimensions || tensor.num_elements() == 0)
        fail(file, shape + ", " + expected + " is needed: this is no dump of SGLang's recorder");
    for (const std::int64_t size : tensor.shape)
        if (size > kMaxDimension)
            fail(file, shape + ", which is absurd: the file is damaged; copy it again");
}

void check_counts(const TorchFile& file,
                  const std::vector<std::int64_t>& counts,
                  std::int64_t num_per_layer,
                  const std::string& subject) {
    const auto bad = std::find_if(counts.begin(), counts.end(), [](std::int64_t count) {
        return count < 0 || count > kMaxCount;
    });
    if (bad == counts.end())
        return;
    const std::int64_t position = bad - counts.begin();
    fail(file, subject + ": count " + std::to_string(*bad) + " in row " +
                   std::to_string(position / num_per_layer) + ", column " +
                   std::to_string(position % num_per_layer) +
                   (*bad < 0 ? " is negative" : " is absurd") +
                   ": the file is damaged; copy it again");
}

// ---------------------------------------------------------------------- stat

// [steps][layers][experts]; a single step may be without its dimension, as SGLang accepts it
TorchTensor stat_tensor(const TorchFile& file) {
    TorchTensor tensor = file.tensor(require_key(file, file.root(), kStatKey, ""), kStatKey);
    if (tensor.shape.size() == 2) {
        tensor.shape.insert(tensor.shape.begin(), 1);
        tensor.strides.insert(tensor.strides.begin(), 0);
    }
    check_shape(file, tensor, "[steps][layers][experts]", 3, kStatKey);
    return tensor;
}

// The steps of a buffer that hold tokens.
std::vector<std::size_t> find_used_steps(const std::vector<std::int64_t>& counts,
                                         std::size_t step_size) {
    std::vector<std::size_t> used;
    for (std::size_t step = 0; step * step_size < counts.size(); ++step) {
        const auto begin = counts.begin() + static_cast<std::ptrdiff_t>(step * step_size);
        const auto end = begin + static_cast<std::ptrdiff_t>(step_size);
        if (std::any_of(begin, end, [](std::int64_t count) { return count != 0; }))
            used.push_back(step);
    }
    return used;
}

std::vector<std::string> stat_warnings(const std::vector<std::size_t>& used,
                                       std::size_t num_steps) {
    std::vector<std::string> warnings;
    const std::size_t num_unused = num_steps - used.size();
    if (num_unused > 0)
        warnings.push_back(std::to_string(num_unused) + " of " + std::to_string(num_steps) +
                           " steps hold no tokens: unused places of the recorder's buffer, left "
                           "out");
    // a reset empties the buffer but goes on writing where it was
    const bool starts_at_front = used.back() + 1 == used.size();
    if (used.size() > 1 && (num_unused == 0 || !starts_at_front))
        warnings.push_back(
            "the recorder's buffer may have wrapped around: iterations need not be in the order of "
            "time");
    return warnings;
}

// -------------------------------------------------------------------- passes

// One rank's part of a forward pass: counts [layers][slots].
struct PassRecord {
    const TorchFile* file = nullptr;
    TorchTensor counts;
};

using PassAndRank = std::pair<std::int64_t, std::int64_t>;

std::string record_text(PassAndRank key) {
    return "forward_pass_id " + std::to_string(key.first) + ", rank " + std::to_string(key.second);
}

class PassesReader {
  public:
    PassesReader(const std::vector<TorchFile>& files, const std::string& name)
        : files_(files), name_(name) {}

    CountTable read(bool sum_sources) {
        for (const TorchFile& file : files_) {
            read_map(file);
            read_records(file);
        }
        check_complete();
        check_experts();
        CountTable table = make_table(sum_sources);
        int iteration = 0;
        for (const std::int64_t pass : passes_) {
            for (const std::int64_t rank : ranks_)
                add_record({pass, rank}, iteration, sum_sources ? 0 : static_cast<int>(rank),
                           table);
            ++iteration;
        }
        return table;
    }

  private:
    void read_map(const TorchFile& file) {
        const TorchTensor tensor =
            file.tensor(require_key(file, file.root(), kMapKey, ""), kMapKey);
        check_shape(file, tensor, "[layers][slots]", 2, kMapKey);
        std::vector<std::int64_t> map = file.integers(tensor, kMapKey);
        if (&file == &files_.front()) {
            shape_ = tensor.shape;
            slot_experts_ = std::move(map);
        } else if (tensor.shape != shape_ || map != slot_experts_) {
            fail(file, std::string(kMapKey) + " differs from that in " + files_.front().name() +
                           ": the files are of different runs; remove the stale ones");
        }
    }

    void read_records(const TorchFile& file) {
        const PickleValue& records = require_key(file, file.root(), kPassesKey, "");
        if (records.kind != Kind::list)
            fail(file, "\"records\" is no list: this is no dump of SGLang's recorder");
        if (records.items.empty())
            fail(file, "holds no passes: nothing was sent while it recorded; record again");
        for (std::size_t i = 0; i < records.items.size(); ++i)
            read_record(file, *records.items[i], "records[" + std::to_string(i) + "]: ");
    }

    void read_record(const TorchFile& file, const PickleValue& dict, const std::string& subject) {
        const PassAndRank key = {
            read_id(file, dict, "forward_pass_id", INT64_MAX - 1, subject),
            read_id(file, dict, "rank", kMaxDimension - 1, subject),
        };
        PassRecord record = {
            &file, file.tensor(require_key(file, dict, kCountKey, subject), subject + kCountKey)};
        check_shape(file, record.counts, "[layers][slots]", 2, subject + kCountKey);
        if (record.counts.shape != shape_)
            fail(file, subject + kCountKey + ": the shape is " + shape_text(record.counts.shape) +
                           ", that of " + kMapKey + " is " + shape_text(shape_) +
                           ": the files are of different runs; remove the stale ones");
        check_size(file, record.counts.num_elements());
        const auto [known, is_new] = records_.emplace(key, std::move(record));
        if (!is_new)
            fail(file, subject + record_text(key) + " is also in " + known->second.file->name() +
                           ": the files are of different runs, or one was copied; remove the "
                           "stale ones");
        passes_.insert(key.first);
        ranks_.insert(key.second);
    }

    std::int64_t read_id(const TorchFile& file,
                         const PickleValue& dict,
                         const std::string& key,
                         std::int64_t maximum,
                         const std::string& subject) const {
        const PickleValue& value = require_key(file, dict, key, subject);
        if (value.kind != Kind::integer || value.integer < 0 || value.integer > maximum)
            fail(file, subject + key + " is no id: the file is damaged; copy it again");
        return value.integer;
    }

    // Records may share one storage in a made-up file, which would then take any amount of memory.
    void check_size(const TorchFile& file, std::int64_t num_counts) {
        num_file_bytes_ += &file == current_file_ ? 0 : file.size();
        current_file_ = &file;
        num_counts_ += static_cast<std::uint64_t>(num_counts);
        if (num_counts_ > num_file_bytes_)
            fail(file,
                 "its records hold more counts than the file has bytes: the file is damaged; "
                 "copy it again");
    }

    void check_complete() const {
        std::int64_t expected_rank = 0;
        for (const std::int64_t rank : ranks_)
            if (rank != expected_rank++)
                throw Error(name_ + ": rank " + std::to_string(expected_rank - 1) +
                            " is missing, while rank " + std::to_string(rank) +
                            " is there; copy the files of all ranks into one folder");
        for (const std::int64_t pass : passes_)
            for (const std::int64_t rank : ranks_)
                if (!records_.contains({pass, rank}))
                    fail_incomplete({pass, rank});
    }

    [[noreturn]] void fail_incomplete(PassAndRank missing) const {
        const auto present = records_.lower_bound({missing.first, 0});  // of the same pass
        throw Error(name_ + ": " + record_text(missing) + " is missing, while rank " +
                    std::to_string(present->first.second) + " has that pass in " +
                    present->second.file->name() +
                    ": copy the files of all ranks, or start and stop all of them together");
    }

    void check_experts() {
        const std::string& file = files_.front().name();
        for (const std::int64_t expert : slot_experts_) {
            if (expert < 0 || expert >= shape_[1])
                throw Error(file + ": " + kMapKey + ": expert " + std::to_string(expert) +
                            " cannot be among " + std::to_string(shape_[1]) +
                            " slots: the file is damaged; copy it again");
            num_experts_ = std::max(num_experts_, static_cast<int>(expert) + 1);
        }
        for (std::int64_t layer = 0; layer < shape_[0]; ++layer) {
            const auto row = slot_experts_.begin() + layer * shape_[1];
            const std::set<std::int64_t> experts(row, row + shape_[1]);
            if (static_cast<std::int64_t>(experts.size()) != num_experts_)
                throw Error(file + ": " + kMapKey + ": layer " + std::to_string(layer) +
                            " has no slot for expert " + std::to_string(first_absent(experts)) +
                            ": the file is damaged; copy it again");
        }
    }

    static std::int64_t first_absent(const std::set<std::int64_t>& experts) {
        std::int64_t absent = 0;
        while (experts.contains(absent))
            ++absent;
        return absent;
    }

    CountTable make_table(bool sum_sources) const {
        CountTable table;
        table.layer_rows = LayerRows::decoder_layers;
        table.num_experts = num_experts_;
        table.has_unknown_sources = false;
        table.ep_size = static_cast<int>(ranks_.size());
        table.num_sources = sum_sources ? 1 : table.ep_size;
        table.num_iterations = static_cast<int>(passes_.size());
        table.iter_start = *passes_.begin();
        const std::int64_t num_ids = *passes_.rbegin() - *passes_.begin() + 1;
        if (num_ids != table.num_iterations) {
            table.iter_start = 0;
            table.warnings.push_back("the " + std::to_string(table.num_iterations) +
                                     " passes have ids from " + std::to_string(*passes_.begin()) +
                                     " to " + std::to_string(*passes_.rbegin()) +
                                     " with gaps: iterations are numbered from 0");
        }
        if (shape_[1] > num_experts_)
            table.warnings.push_back(
                "counts per slot became counts per expert by the last placement of the recording: "
                "where experts moved before, they are wrong");
        table.allocate(static_cast<int>(shape_[0]), name_);
        return table;
    }

    void add_record(PassAndRank key, int iteration, int source, CountTable& table) const {
        const PassRecord& record = records_.at(key);
        const std::string subject = record_text(key) + ": " + kCountKey;
        const std::vector<std::int64_t> counts = record.file->integers(record.counts, subject);
        check_counts(*record.file, counts, shape_[1], subject);
        for (int layer = 0; layer < table.num_layers(); ++layer) {
            const std::span<std::int64_t> row = table.row(iteration, layer, source);
            for (std::int64_t slot = 0; slot < shape_[1]; ++slot) {
                const auto place = static_cast<std::size_t>(layer * shape_[1] + slot);
                std::int64_t& sum = row[slot_experts_[place]];
                sum += counts[place];
                if (sum > kMaxCount)
                    fail(*record.file, subject + ": the tokens of an expert in layer " +
                                           std::to_string(layer) +
                                           " add up to an absurd count: the file is damaged; copy "
                                           "it again");
            }
        }
    }

    const std::vector<TorchFile>& files_;
    const std::string& name_;
    std::vector<std::int64_t> shape_;         // layers, slots
    std::vector<std::int64_t> slot_experts_;  // [layers][slots]
    int num_experts_ = 0;
    std::map<PassAndRank, PassRecord> records_;
    std::set<std::int64_t> passes_;
    std::set<std::int64_t> ranks_;
    const TorchFile* current_file_ = nullptr;
    std::uint64_t num_file_bytes_ = 0;
    std::uint64_t num_counts_ = 0;
};

// A folder's .pt files in the order of their names, or the one file that it is.
std::vector<fs::path> find_dumps(const fs::path& path) {
    std::error_code error;
    if (!fs::is_directory(path, error))
        return {path};
    std::vector<fs::path> dumps;
    for (fs::directory_iterator entry(path, error), end; !error && entry != end;
         entry.increment(error))
        if (entry->path().extension() == ".pt")
            dumps.push_back(entry->path());
    if (error)
        throw Error(path.string() + ": cannot list the folder: " + error.message());
    if (dumps.empty())
        throw Error(path.string() +
                    ": holds no .pt file; name the folder that SGLang's recorder wrote to");
    std::sort(dumps.begin(), dumps.end());  // so that messages do not depend on the file system
    return dumps;
}

}  // namespace

SglangDump recognize_sglang_dump(const TorchFile& file) {
    if (find_key(file.root(), kStatKey) != nullptr)
        return SglangDump::stat;
    if (find_key(file.root(), kPassesKey) != nullptr)
        return SglangDump::passes;
    fail(file,
         "has neither \"logical_count\", as stat dumps have, nor \"records\", as those of "
         "per_pass and per_token: this is no dump of SGLang's recorder");
}

CountTable parse_sglang_stat(const TorchFile& file) {
    if (recognize_sglang_dump(file) != SglangDump::stat)
        fail(file, "is a dump of passes, one of mode stat or stat_approx is needed");
    if (const PickleValue* const layout = find_key(file.root(), kSglangLayoutKey))
        refuse_sglang_layout(layout->text, file.name());
    const TorchTensor tensor = stat_tensor(file);
    const std::vector<std::int64_t> counts = file.integers(tensor, kStatKey);
    check_counts(file, counts, tensor.shape[2], kStatKey);

    const auto step_size = static_cast<std::size_t>(tensor.shape[1] * tensor.shape[2]);
    const std::vector<std::size_t> used = find_used_steps(counts, step_size);
    if (used.empty())
        fail(file, "none of its " + std::to_string(tensor.shape[0]) +
                       " steps holds a token: nothing was sent while it recorded; record again");
    CountTable table;
    table.layer_rows = LayerRows::decoder_layers;
    table.num_experts = static_cast<int>(tensor.shape[2]);
    table.num_iterations = static_cast<int>(used.size());
    table.warnings = stat_warnings(used, static_cast<std::size_t>(tensor.shape[0]));
    table.allocate(static_cast<int>(tensor.shape[1]), file.name());
    for (std::size_t i = 0; i < used.size(); ++i)
        std::copy_n(counts.begin() + static_cast<std::ptrdiff_t>(used[i] * step_size), step_size,
                    table.counts.begin() + static_cast<std::ptrdiff_t>(i * step_size));
    return table;
}

CountTable parse_sglang_passes(const std::vector<TorchFile>& files,
                               const std::string& name,
                               bool sum_sources) {
    for (const TorchFile& file : files)
        if (recognize_sglang_dump(file) == SglangDump::stat)
            fail(file, files.size() == 1
                           ? "is a stat dump, one of passes is needed; read it as sglang-stat"
                           : "is a stat dump, which is a recording of its own, among other .pt "
                             "files; name it alone, or move it out of the folder");
    return PassesReader(files, name).read(sum_sources);
}

SglangDump recognize_sglang_dump(const fs::path& path) {
    const std::vector<fs::path> dumps = find_dumps(path);
    if (dumps.size() > 1)
        return SglangDump::passes;
    const MappedFile file(dumps.front());
    // whoever reads the counts checks them; twice would take as long again
    return recognize_sglang_dump(
        parse_torch_file(file.bytes(), dumps.front().string(), ZipChecksums::ignored));
}

CountTable read_sglang_stat(const fs::path& path) {
    const std::vector<fs::path> dumps = find_dumps(path);
    if (dumps.size() > 1)
        throw Error(path.string() + ": holds " + std::to_string(dumps.size()) +
                    " .pt files; name the stat dump to read, like " + dumps.front().string());
    const MappedFile file(dumps.front());
    return parse_sglang_stat(parse_torch_file(file.bytes(), dumps.front().string()));
}

CountTable read_sglang_passes(const fs::path& path, bool sum_sources) {
    std::vector<MappedFile> mapped;
    std::vector<TorchFile> files;
    for (const fs::path& dump : find_dumps(path)) {
        mapped.emplace_back(dump);
        files.push_back(parse_torch_file(mapped.back().bytes(), dump.string()));
    }
    CountTable table = parse_sglang_passes(files, path.string(), sum_sources);
    if (files.size() == 1)
        table.warnings.push_back("one file of passes: ranks that wrote others are not counted");
    return table;
}

}  // namespace eplb
