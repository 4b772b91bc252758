#include "lib/report/views/fault_table.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/setting.h"
#include "lib/base/text.h"
#include "lib/placement/route/fault_coverage.h"
#include "lib/report/views/views.h"

namespace eplb {
namespace {

// Position of the layer in which most is lost.
std::size_t worst_layer(const LostExperts& lost) {
    std::size_t worst = 0;
    for (std::size_t layer = 1; layer < lost.tokens.size(); ++layer)
        if (std::pair(lost.tokens[layer], lost.expert_ids[layer].size()) >
            std::pair(lost.tokens[worst], lost.expert_ids[worst].size()))
            worst = layer;
    return worst;
}

std::vector<Cell> row_of(int place,
                         const LostExperts& lost,
                         double num_tokens,
                         const std::vector<int>& layers) {
    std::vector<Cell> row = {place, lost.num_experts(),
                             num_tokens > 0 ? lost.total_tokens() / num_tokens : 0.0};
    if (lost.num_experts() == 0) {
        row.emplace_back();
        row.emplace_back(IntegerList());
        return row;
    }
    const std::size_t layer = worst_layer(lost);
    row.emplace_back(layers[layer]);
    row.emplace_back(IntegerList(lost.expert_ids[layer].begin(), lost.expert_ids[layer].end()));
    return row;
}

std::string verdict(const std::vector<LostExperts>& places,
                    const std::string& place_name,
                    double num_tokens,
                    const Subject& subject) {
    const auto worst =
        std::max_element(places.begin(), places.end(), [](const auto& one, const auto& other) {
            return std::pair(one.total_tokens(), one.num_experts()) <
                   std::pair(other.total_tokens(), other.num_experts());
        });
    if (worst->num_experts() == 0)
        return "Any " + place_name + " may die: every expert has a replica on another " +
               place_name + ".";
    std::string text =
        "If " + place_name + " " + std::to_string(worst - places.begin()) + " dies, " +
        std::to_string(worst->num_experts()) +
        (worst->num_experts() == 1 ? " expert goes" : " experts go") + " with it in " +
        counted(subject.num_layers(), "layer") + ", which serve " +
        fixed(num_tokens > 0 ? 100 * worst->total_tokens() / num_tokens : 0, 1) + " %" +
        " of the routed ids (a token has several, so that far more tokens miss one); ";
    if (places.size() == 1)
        return text + "there is no other " + place_name + ".";
    if (place_name == "node")
        return text + "placements spread replicas over ranks, not over nodes.";
    return text + "with every expert on two ranks none would, which takes " +
           std::to_string((2 * subject.num_experts + subject.ep_size - 1) / subject.ep_size *
                          subject.ep_size) +
           " slots or more.";
}

}  // namespace

Table fault_table(const Subject& subject, int num_nodes) {
    if (!subject.knows_experts())
        throw Error(subject.name +
                    ": holds slot ids, so that which experts are lost is not known; give the yaml "
                    "that was in force with " +
                    setting("load_balancer"));
    const std::string place_name = num_nodes > 1 ? "node" : "rank";
    std::vector<std::vector<double>> tokens;  // [layers][num_experts]
    for (const LayerLoad& load : subject.expert_load)
        tokens.push_back(bin_totals(load));
    const std::vector<LostExperts> places =
        lost_experts(subject.placements, tokens, num_nodes > 1 ? num_nodes : subject.ep_size);
    double num_tokens = 0;
    for (const std::vector<double>& layer : tokens)
        num_tokens += std::accumulate(layer.begin(), layer.end(), 0.0);

    Table table;
    table.title = "Lost with a " + place_name + ":";
    table.columns = {{place_name, place_name},
                     {"lost_experts", "lost-experts", 1},
                     {"lost_share", "lost-share", 4},
                     {"worst_layer", "worst-layer"},
                     {"lost_in_worst_layer", "lost-in-worst-layer"}};
    double num_lost = 0;
    double lost_tokens = 0;
    const int num_places = static_cast<int>(places.size());
    for (int place = 0; place < num_places; ++place) {
        table.rows.push_back(row_of(place, places[place], num_tokens, subject.layers));
        num_lost += static_cast<double>(places[place].num_experts());
        lost_tokens += places[place].total_tokens();
    }
    table.average = {"average", num_lost / num_places,
                     num_tokens > 0 ? lost_tokens / num_tokens / num_places : 0.0, Cell(),
                     IntegerList()};

    describe_subject(table, subject, Bins::ranks);
    if (num_nodes > 1)
        table.context.emplace_back("num_nodes", num_nodes);
    table.notes.push_back(
        "Experts that have no replica on another " + place_name +
        ": pairs of layer and expert in " + counted(subject.num_layers(), "layer") + " of " +
        std::to_string(subject.num_experts) + " experts; the share is of all routed ids. " +
        setting("layers") + " lists those of another layer.");
    table.notes.emplace_back(verdict(places, place_name, num_tokens, subject), Note::Kind::verdict);
    return table;
}

}  // namespace eplb
