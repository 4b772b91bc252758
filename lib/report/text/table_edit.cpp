#include "lib/report/text/table_edit.h"

#include <algorithm>
#include <cmath>

namespace eplb {
namespace {

enum class Kind { number, list, text, unknown };  // the order of kinds in a column

Kind kind_of(const Cell& cell) {
    if (std::holds_alternative<std::string>(cell))
        return Kind::text;
    if (std::holds_alternative<IntegerList>(cell))
        return Kind::list;
    const double* const value = std::get_if<double>(&cell);
    const bool is_unknown =
        std::holds_alternative<std::monostate>(cell) || (value != nullptr && std::isnan(*value));
    return is_unknown ? Kind::unknown : Kind::number;
}

// Holds every integer and every double exactly.
long double number(const Cell& cell) {
    if (const std::int64_t* const value = std::get_if<std::int64_t>(&cell))
        return static_cast<long double>(*value);
    return std::get<double>(cell);
}

// Whether a's row comes first when the column is sorted as its kind is by default.
bool comes_first(const Cell& a, const Cell& b, Kind kind) {
    switch (kind) {
        case Kind::number:
            return number(a) > number(b);
        case Kind::list:
            return std::get<IntegerList>(a) > std::get<IntegerList>(b);
        case Kind::text:
            return std::get<std::string>(a) < std::get<std::string>(b);
        case Kind::unknown:
            return false;
    }
    return false;
}

}  // namespace

std::optional<int> find_column(const Table& table, const std::string& name) {
    for (std::size_t i = 0; i < table.columns.size(); ++i)
        if (table.columns[i].key == name || table.columns[i].header == name)
            return static_cast<int>(i);
    return std::nullopt;
}

void sort_rows(Table& table, int column, bool is_reversed) {
    std::stable_sort(table.rows.begin(), table.rows.end(),
                     [&](const std::vector<Cell>& a, const std::vector<Cell>& b) {
                         const Cell& first = is_reversed ? b[column] : a[column];
                         const Cell& second = is_reversed ? a[column] : b[column];
                         const Kind kind = kind_of(a[column]);
                         if (kind != kind_of(b[column]))
                             return kind < kind_of(b[column]);
                         return comes_first(first, second, kind);
                     });
}

void keep_top(Table& table, int num_rows) {
    const int num_all = static_cast<int>(table.rows.size());
    if (num_all <= num_rows)
        return;
    table.rows.resize(num_rows);
    table.notes.emplace_back(std::to_string(num_rows) + " of " + std::to_string(num_all) + " rows" +
                                 (table.average.empty() ? "." : "; the average is of all of them."),
                             Note::Kind::cut);
}

}  // namespace eplb
