#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/text.h"
#include "lib/report/text/table_formats.h"

namespace eplb::text {
namespace {

std::string json_string(const std::string& text) {
    // a path may hold bytes that are no utf-8
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_value(const Cell& cell) {
    if (is_empty(cell))
        return "null";
    if (const double* const value = std::get_if<double>(&cell))
        return std::isfinite(*value) ? full_precision(*value) : "null";
    if (const std::int64_t* const value = std::get_if<std::int64_t>(&cell))
        return std::to_string(*value);
    if (const IntegerList* const numbers = std::get_if<IntegerList>(&cell))
        return "[" + joined(*numbers, ", ") + "]";
    return json_string(std::get<std::string>(cell));
}

std::string json_object(const Table& table,
                        const std::vector<Cell>& row,
                        std::size_t first_column) {
    std::string text = "{";
    for (std::size_t i = first_column; i < table.columns.size(); ++i)
        text.append(i == first_column ? "" : ", ")
            .append(json_string(table.columns[i].key))
            .append(": ")
            .append(json_value(row[i]));
    return text + "}";
}

}  // namespace

std::string as_json(const Table& table) {
    std::string text = "{\n  \"schema_version\": 1";
    for (const auto& [key, value] : table.context)
        text.append(",\n  ").append(json_string(key)).append(": ").append(json_value(value));
    text += ",\n  \"rows\": [";
    for (std::size_t i = 0; i < table.rows.size(); ++i)
        text.append(i == 0 ? "\n    " : ",\n    ").append(json_object(table, table.rows[i], 0));
    text += table.rows.empty() ? "]" : "\n  ]";
    if (!table.average.empty())
        text.append(",\n  \"average\": ").append(json_object(table, table.average, 1));
    for (std::size_t i = 0; i < table.notes.size(); ++i)
        text.append(i == 0 ? ",\n  \"notes\": [\n    " : ",\n    ")
            .append(json_string(table.notes[i].text));
    if (!table.notes.empty())
        text += "\n  ]";
    return text + "\n}\n";
}

}  // namespace eplb::text
