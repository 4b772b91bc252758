#include "lib/report/views/views.h"

#include <algorithm>
#include <utility>

#include "lib/base/text.h"

namespace eplb {
namespace {

// 0 is not known
Cell known(int number) {
    return number > 0 ? Cell(number) : Cell();
}

}  // namespace

std::int64_t num_empty_iterations(const Subject& subject) {
    std::int64_t result = 0;
    for (const LayerLoad& load : subject.slot_load)
        for (int i = 0; i < load.num_iterations; ++i) {
            const std::span<const double> bins = load.iteration(i);
            result += std::all_of(bins.begin(), bins.end(), [](double bin) { return bin == 0; });
        }
    return result;
}

void describe_subject(Table& table, const Subject& subject, Bins bins) {
    const auto add = [&](const char* key, Cell value) {
        table.context.emplace_back(key, std::move(value));
    };
    add("name", subject.name);
    add("bins", bin_name(subject, bins) + "s");
    add("num_bins", num_bins(subject, bins));
    add("ids", std::string(subject.ids == IdKind::slot ? "slot" : "expert"));
    add("num_experts", subject.num_experts);
    add("top_k", known(subject.top_k));
    add("iter_start", subject.iter_start);
    add("iter_stop", subject.iter_stop());
    add("num_empty_iterations", num_empty_iterations(subject));
}

void describe_split(Table& table, const Subject& subject) {
    if (subject.split == ReplicaSplit::recorded)
        return;
    table.context.emplace_back("replica_split", split_name(subject.split));
    table.context.emplace_back("num_source_ranks", known(subject.num_source_ranks));
    table.notes.push_back(sentence(split_note(subject)));
}

}  // namespace eplb
