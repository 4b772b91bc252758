#include "lib/formats/statistics/trtllm_meta.h"

#include <charconv>
#include <system_error>

#include "lib/base/error.h"
#include "lib/formats/statistics/rank_files.h"
#include "lib/formats/statistics/trtllm_json.h"

namespace eplb {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

int meta_integer(const json& meta, const std::string& name, const char* key, int minimum) {
    const auto found = meta.find(key);
    if (found == meta.end())
        fail_at_key(name, key, "is missing: this is no statistics folder or the file is damaged");
    const bool is_in_range = found->is_number_integer() && *found >= minimum && *found <= INT32_MAX;
    if (!is_in_range)
        fail_at_key(name, key, "must be an integer from " + std::to_string(minimum) + " on");
    return found->get<int>();
}

// A recorder that takes the value from its environment may leave the text of it.
int integer_or_its_text(json meta, const std::string& name, const char* key, int minimum) {
    json& value = meta[key];
    if (value.is_string()) {
        const auto& text = value.get_ref<const std::string&>();
        int number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error == std::errc() && end == text.data() + text.size())
            value = number;
    }
    return meta_integer(meta, name, key, minimum);
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

void check_is_there(const fs::path& folder, const std::string& name) {
    std::error_code ignored;
    if (!fs::exists(folder, ignored))
        throw Error(folder.string() + ": no such folder");
    if (!fs::is_directory(folder, ignored))
        throw Error(folder.string() + ": is no folder");
    if (!fs::exists(name, ignored))
        throw Error(name + ": is missing: the recording is unfinished (it is written last) or " +
                    folder.string() + " is no statistics folder");
}

}  // namespace

TrtllmMeta read_trtllm_meta(const fs::path& folder) {
    const std::string name = (folder / kTrtllmMetaName).string();
    check_is_there(folder, name);
    const json meta = read_trtllm_json(name);
    if (meta.is_null())
        throw Error(name + ": is null: the recorder's iteration range was empty, nothing was " +
                    "recorded; record again with start < stop");
    if (!meta.is_object())
        throw Error(name + ": must be an object with num_experts and num_experts_per_token");
    TrtllmMeta result;
    result.num_experts = meta_integer(meta, name, "num_experts", 1);
    result.top_k = meta_integer(meta, name, "num_experts_per_token", 1);
    if (result.top_k > result.num_experts)
        fail_at_key(name, "num_experts_per_token", "must not exceed num_experts");
    if (meta.contains("ep_size"))
        result.ep_size = integer_or_its_text(meta, name, "ep_size", 1);
    result.experts_per_rank = meta.contains("experts_per_rank")
                                  ? integer_or_its_text(meta, name, "experts_per_rank", 0)
                                  : -1;
    result.ids = meta_ids(meta, name);
    if (meta.contains("layer_updates_per_iter"))
        result.layer_updates_per_iter = meta_integer(meta, name, "layer_updates_per_iter", 0);
    return result;
}

void check_num_ranks(const TrtllmMeta& meta, const fs::path& folder, int num_ranks) {
    const std::string name = (folder / kTrtllmMetaName).string();
    if (meta.ep_size != 0 && meta.ep_size != num_ranks)
        fail_at_key(name, "ep_size",
                    std::to_string(meta.ep_size) + ", but the folder holds " +
                        std::to_string(num_ranks) +
                        " rank files; copy the missing ones or remove the stale ones");
    const int experts_per_rank = meta.num_experts / num_ranks;
    if (meta.experts_per_rank >= 0 && meta.experts_per_rank != experts_per_rank)
        fail_at_key(name, "experts_per_rank",
                    std::to_string(meta.experts_per_rank) + ", but num_experts " +
                        std::to_string(meta.num_experts) + " over the folder's " +
                        std::to_string(num_ranks) + " rank files are " +
                        std::to_string(experts_per_rank) +
                        "; copy the missing ones or remove the stale ones");
}

std::string format_trtllm_meta(const ExpertStatistics& statistics) {
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

}  // namespace eplb
