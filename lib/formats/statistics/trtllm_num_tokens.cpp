#include "lib/formats/statistics/trtllm_num_tokens.h"

#include "lib/base/error.h"
#include "lib/formats/statistics/trtllm_json.h"

namespace eplb {
namespace {

using nlohmann::json;

// [iterations][layers]
std::vector<std::int64_t> read_num_tokens(const std::string& name,
                                          const SafetensorsReader& counts,
                                          const std::vector<KeyedTensor>& cells) {
    const char* const remedy =
        ": one of the two is left from another run; remove the numtokens files";
    const json object = read_trtllm_json(name);
    if (!object.is_object())
        throw Error(name + ": must be an object with a number of tokens per key");
    std::vector<std::int64_t> num_tokens;
    num_tokens.reserve(cells.size());
    for (const KeyedTensor& cell : cells) {
        const std::string key = key_text({cell.iteration, cell.layer});
        const auto found = object.find(key);
        if (found == object.end())
            fail_at_key(name, key, "is missing, while " + counts.name() + " has it" + remedy);
        if (!found->is_number_integer() || *found < 0 || *found > kMaxCount)
            fail_at_key(name, key, "must be a number of tokens: the file is damaged");
        num_tokens.push_back(found->get<std::int64_t>());
    }
    if (object.size() != cells.size())
        throw Error(name + ": holds " + std::to_string(object.size()) + " keys, " + counts.name() +
                    " " + std::to_string(cells.size()) + remedy);
    return num_tokens;
}

}  // namespace

TrtllmNumTokens::TrtllmNumTokens(const std::filesystem::path& folder, const RankFiles& recording)
    : recording_(recording) {
    const std::vector<std::filesystem::path> paths = find_rank_files(folder, kNumTokensFiles);
    if (paths.empty())
        return;
    if (static_cast<int>(paths.size()) != recording.ep_size())
        throw Error(folder.string() + ": holds numbers of tokens of " +
                    std::to_string(paths.size()) + " ranks and counts of " +
                    std::to_string(recording.ep_size()) +
                    ": copy all ranks of the recording, or remove the numtokens files");
    for (std::size_t source = 0; source < paths.size(); ++source) {
        names_.push_back(paths[source].string());
        num_tokens_.push_back(
            read_num_tokens(names_.back(), recording.files[source], *recording.cells[source]));
    }
}

void TrtllmNumTokens::check(
    int source, std::int64_t iteration_id, int layer, int top_k, std::int64_t sum_of_counts) const {
    const auto rank = static_cast<std::size_t>(source);
    const auto iteration = static_cast<std::size_t>(iteration_id - recording_.iterations.start);
    const auto position = static_cast<std::size_t>(layer);
    const std::int64_t num_tokens =
        num_tokens_[rank][iteration * recording_.layers.size() + position];
    // the product might overflow
    if (sum_of_counts % top_k == 0 && sum_of_counts / top_k == num_tokens)
        return;
    fail_at_key(names_[rank], key_text({iteration_id, recording_.layers[position]}),
                std::to_string(num_tokens) + " tokens with " + std::to_string(top_k) +
                    " experts each, but " + recording_.files[rank].name() + " counts " +
                    std::to_string(sum_of_counts) +
                    " ids: they are of different runs; remove the numtokens files");
}

}  // namespace eplb
