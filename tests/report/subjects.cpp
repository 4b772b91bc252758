#include "tests/report/subjects.h"

#include <algorithm>
#include <numeric>

#include "lib/report/text/table_writers.h"

namespace eplb::test {

ExpertStatistics statistics_of(const std::vector<int>& layers, const std::vector<Counts>& counts) {
    ExpertStatistics statistics;
    statistics.num_experts = static_cast<int>(counts.front().front().size());
    statistics.top_k = statistics.ep_size = statistics.num_sources = 1;
    statistics.layers = layers;
    statistics.iter_start = 100;
    statistics.num_iterations = static_cast<int>(counts.front().size());
    statistics.allocate();
    for (int layer = 0; layer < statistics.num_layers(); ++layer)
        for (int i = 0; i < statistics.num_iterations; ++i) {
            const auto& row = counts[layer][i];
            std::copy(row.begin(), row.end(), statistics.row(i, layer, 0).begin());
        }
    return statistics;
}

Subject subject_of(const std::string& name,
                   int ep_size,
                   const std::vector<int>& layers,
                   const std::vector<Counts>& counts) {
    return recorded_subject(statistics_of(layers, counts), name, ep_size);
}

ExpertStatistics statistics_of(const Tokens& tokens) {
    std::vector<int> layers(tokens.size());
    std::iota(layers.begin(), layers.end(), 3);
    return statistics_of(layers, tokens);
}

Subject subject_of(const Tokens& tokens, int ep_size, const std::string& name) {
    return recorded_subject(statistics_of(tokens), name, ep_size);
}

MeasuredSubject measured(const Subject& subject, Bins bins) {
    ThreadPool threads(2);
    return measure(subject, bins, threads);
}

nlohmann::json json_of(const Table& table) {
    return nlohmann::json::parse(write_table(table, TableFormat::json));
}

bool has_note(const Table& table, const std::string& part) {
    return std::any_of(table.notes.begin(), table.notes.end(),
                       [&](const Note& note) { return note.text.find(part) != std::string::npos; });
}

std::string last_verdict(const Table& table) {
    REQUIRE_FALSE(table.notes.empty());
    CHECK(table.notes.back().kind == Note::Kind::verdict);
    return table.notes.back().text;
}

}  // namespace eplb::test
