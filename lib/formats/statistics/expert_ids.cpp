#include "lib/formats/statistics/expert_ids.h"

#include <algorithm>

#include "lib/base/setting.h"

namespace eplb {
namespace {

constexpr int kMaxTakenNumExperts = 4096;  // a multiple of what any published model has

}  // namespace

bool ExpertIds::accept(std::int64_t id) {
    if (id < 0 || id >= (given_ > 0 ? given_ : kMaxTakenNumExperts))
        return false;
    highest_ = std::max(highest_, static_cast<int>(id));
    return true;
}

std::string ExpertIds::fault(std::int64_t id) const {
    const std::string text = "expert id " + std::to_string(id);
    if (id < 0)
        return text + " is negative";
    if (given_ > 0)
        return text + " is outside [0, " + std::to_string(given_) + "): give the model's " +
               setting("num_experts");
    return text + " is absurd; give " + setting("num_experts") + " if the model has so many";
}

void ExpertIds::warn(std::vector<std::string>& warnings) const {
    if (given_ == 0)
        warnings.push_back(setting("num_experts") + " is taken for " +
                           std::to_string(num_experts()) +
                           ", the highest id + 1; give it if the model has more");
}

void count_expert(std::vector<std::int64_t>& row, std::int64_t expert_id) {
    const auto index = static_cast<std::size_t>(expert_id);
    if (index >= row.size())
        row.resize(index + 1);
    ++row[index];
}

}  // namespace eplb
