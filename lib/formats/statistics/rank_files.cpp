#include "lib/formats/statistics/rank_files.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <system_error>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;

constexpr RankFileKind kAllKinds[] = {kCountsFiles, kSelectedExpertsFiles, kRawFiles,
                                      kCooccurrenceFiles, kNumTokensFiles};

// "0", "17": digits alone, no leading zero
template <typename Integer>
bool parse_decimal(std::string_view text, Integer& value) {
    if (text.empty() || text[0] == '-' || (text[0] == '0' && text.size() > 1))
        return false;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

std::pair<std::int64_t, int> key_of(const KeyedTensor& cell) {
    return {cell.iteration, cell.layer};
}

// what stands for the rank in a name of that kind
std::optional<std::string_view> rank_text(std::string_view file_name, const RankFileKind& kind) {
    if (file_name.size() < kind.prefix.size() + kind.suffix.size() ||
        !file_name.starts_with(kind.prefix) || !file_name.ends_with(kind.suffix))
        return std::nullopt;
    file_name.remove_prefix(kind.prefix.size());
    file_name.remove_suffix(kind.suffix.size());
    return file_name;
}

std::optional<int> rank_of(std::string_view file_name, const RankFileKind& kind) {
    const std::optional<std::string_view> text = rank_text(file_name, kind);
    int rank = 0;
    if (!text || !parse_decimal(*text, rank))
        return std::nullopt;
    return rank;
}

// "rank0_raw.safetensors" is a raw file and no odd counts file
bool is_of_some_rank(std::string_view file_name) {
    return std::any_of(std::begin(kAllKinds), std::end(kAllKinds), [&](const RankFileKind& kind) {
        return rank_of(file_name, kind).has_value();
    });
}

std::vector<std::string> file_names(const fs::path& folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
         entry.increment(error))
        names.push_back(entry->path().filename().string());
    if (error)
        throw Error(folder.string() + ": cannot list the folder: " + error.message());
    std::sort(names.begin(), names.end());  // so that messages do not depend on the file system
    return names;
}

KeyedTensor parse_key(const std::string& name, const std::string& key, std::size_t tensor) {
    KeyedTensor cell;
    cell.tensor = tensor;
    const std::size_t separator = key.find('_');
    const std::string_view text = key;
    if (separator == std::string::npos ||
        !parse_decimal(text.substr(0, separator), cell.iteration) ||
        !parse_decimal(text.substr(separator + 1), cell.layer) || cell.iteration == INT64_MAX)
        fail_at_key(name, key,
                    "is no \"{iteration}_{layer}\": this is no rank file of a recording");
    return cell;
}

// by iteration, then layer
std::vector<KeyedTensor> read_cells(const SafetensorsReader& file) {
    const std::vector<Tensor>& tensors = file.header().tensors;
    if (tensors.empty())
        throw Error(file.name() +
                    ": holds no iteration: the recorder's range was empty; record again");
    std::vector<KeyedTensor> cells;
    cells.reserve(tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i)
        cells.push_back(parse_key(file.name(), tensors[i].name, i));
    std::sort(cells.begin(), cells.end(),
              [](const KeyedTensor& a, const KeyedTensor& b) { return key_of(a) < key_of(b); });
    return cells;
}

void check_same_keys(const SafetensorsReader& a,
                     const std::vector<KeyedTensor>& cells_a,
                     const SafetensorsReader& b,
                     const std::vector<KeyedTensor>& cells_b) {
    const auto [in_a, in_b] =
        std::mismatch(cells_a.begin(), cells_a.end(), cells_b.begin(), cells_b.end(),
                      [](const KeyedTensor& left, const KeyedTensor& right) {
                          return key_of(left) == key_of(right);
                      });
    if (in_a == cells_a.end() && in_b == cells_b.end())
        return;
    const bool b_lacks_it =
        in_b == cells_b.end() || (in_a != cells_a.end() && key_of(*in_a) < key_of(*in_b));
    fail_at_key((b_lacks_it ? b : a).name(), key_text(key_of(b_lacks_it ? *in_a : *in_b)),
                "is missing, while " + (b_lacks_it ? a : b).name() +
                    " has it: one of the two is left from another run; remove the stale files or "
                    "record again into an empty folder");
}

std::vector<int> layers_of(const std::vector<KeyedTensor>& cells) {
    std::vector<int> layers;
    layers.reserve(cells.size());
    for (const KeyedTensor& cell : cells)
        layers.push_back(cell.layer);
    std::sort(layers.begin(), layers.end());
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    return layers;
}

// every layer in every iteration, and no iteration left out
void check_complete(const std::string& name,
                    const std::vector<KeyedTensor>& cells,
                    const std::vector<int>& layers) {
    for (std::size_t i = 1; i < cells.size(); ++i)
        if (cells[i].iteration > cells[i - 1].iteration + 1)
            throw Error(name + ": iteration " + std::to_string(cells[i - 1].iteration + 1) +
                        " is missing between " + std::to_string(cells[i - 1].iteration) + " and " +
                        std::to_string(cells[i].iteration) +
                        ": files of several recordings were mixed; record again");
    for (std::size_t i = 0; i < cells.size() || i % layers.size() != 0; ++i) {
        const std::int64_t iteration =
            cells[0].iteration + static_cast<std::int64_t>(i / layers.size());
        const std::pair expected(iteration, layers[i % layers.size()]);
        if (i == cells.size() || key_of(cells[i]) != expected)
            fail_at_key(name, key_text(expected),
                        "is missing, while other iterations have layer " +
                            std::to_string(expected.second) + "; record again");
    }
}

std::vector<SafetensorsReader> open_all(const std::vector<fs::path>& paths) {
    std::vector<SafetensorsReader> files;
    files.reserve(paths.size());
    for (const fs::path& path : paths)
        files.emplace_back(path, files.empty() ? nullptr : &files.front());
    return files;
}

}  // namespace

fs::path rank_path(const fs::path& folder, const RankFileKind& kind, int rank) {
    return folder / (std::string(kind.prefix) + std::to_string(rank) + std::string(kind.suffix));
}

std::vector<fs::path> find_rank_files(const fs::path& folder, const RankFileKind& kind) {
    std::map<int, fs::path> files;
    for (const std::string& name : file_names(folder)) {
        if (const std::optional<int> rank = rank_of(name, kind))
            files.emplace(*rank, folder / name);
        else if (rank_text(name, kind) && !is_of_some_rank(name))
            throw Error((folder / name).string() +
                        ": is not named after a rank; move it out of the folder");
    }
    std::vector<fs::path> paths;
    for (const auto& [rank, path] : files) {
        const fs::path expected = rank_path(folder, kind, static_cast<int>(paths.size()));
        if (path != expected)
            throw Error(expected.string() + ": is missing, while " + path.filename().string() +
                        " is there; copy all ranks of the recording, or remove the stale file");
        paths.push_back(path);
    }
    return paths;
}

void check_replaceable(const fs::path& folder) {
    for (const std::string& name : file_names(folder))
        for (const RankFileKind& kind : kAllKinds) {
            if (!rank_text(name, kind))
                continue;
            std::error_code ignored;
            if (!is_of_some_rank(name) || fs::is_directory(folder / name, ignored))
                throw Error((folder / name).string() +
                            ": stands among the files to be written; move it out of the folder");
        }
}

void remove_file(const fs::path& path) {
    std::error_code error;
    fs::remove(path, error);
    if (error)
        throw Error(path.string() + ": cannot remove: " + error.message());
}

void remove_rank_files(const fs::path& folder, const RankFileKind& kind, int num_kept) {
    for (const std::string& name : file_names(folder)) {
        const std::optional<int> rank = rank_of(name, kind);
        if (rank && *rank >= num_kept)
            remove_file(folder / name);
    }
}

void fail_at_key(const std::string& name, std::string_view key, const std::string& what) {
    throw Error(name + ": key " + quoted_name(key) + ": " + what);
}

std::string key_text(std::pair<std::int64_t, int> key) {
    return std::to_string(key.first) + '_' + std::to_string(key.second);
}

RankFiles open_rank_files(const std::vector<fs::path>& paths) {
    RankFiles recording;
    recording.files = open_all(paths);
    const std::vector<SafetensorsReader>& files = recording.files;
    for (const SafetensorsReader& file : files) {
        if (file.shares_header_with(files.front()) && !recording.cells.empty()) {
            recording.cells.push_back(recording.cells.front());
            continue;
        }
        auto cells = std::make_shared<const std::vector<KeyedTensor>>(read_cells(file));
        if (!recording.cells.empty())
            check_same_keys(files.front(), *recording.cells.front(), file, *cells);
        recording.cells.push_back(std::move(cells));
    }
    const std::vector<KeyedTensor>& cells = *recording.cells.front();
    recording.layers = layers_of(cells);
    check_complete(files.front().name(), cells, recording.layers);
    recording.iterations = {cells.front().iteration, cells.back().iteration + 1};
    return recording;
}

void check_same_recording(const RankFiles& recording,
                          const std::string& what,
                          const ExpertStatistics& statistics) {
    const std::string subject = recording.files.front().name() + ": the " + what;
    const char* const remedy = ": they are of different runs; remove the stale files";
    if (recording.ep_size() != statistics.ep_size)
        throw Error(subject + " are of " + std::to_string(recording.ep_size()) +
                    " ranks, the counts of " + std::to_string(statistics.ep_size) + remedy);
    if (recording.layers != statistics.layers)
        throw Error(subject + " have other layers than the counts" + remedy);
    if (recording.iterations.start > statistics.iter_start ||
        recording.iterations.stop < statistics.iter_stop())
        throw Error(subject + " have iterations " + std::to_string(recording.iterations.start) +
                    " to " + std::to_string(recording.iterations.stop - 1) + ", the counts " +
                    std::to_string(statistics.iter_start) + " to " +
                    std::to_string(statistics.iter_stop() - 1) + remedy);
}

}  // namespace eplb
