#include "lib/time/measurement_table.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

constexpr double kMostRows = 1e15;
constexpr int kMostOnRank = 1 << 16;  // on one rank

std::vector<std::string_view> parts_of(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(separator, begin), text.size());
        parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

std::string_view without_blanks(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos)
        return {};
    return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

// One table's columns and what stands in them.
class MeasurementReader {
  public:
    MeasurementReader(std::string_view header, const std::string& name) : name_(name) {
        for (const std::string_view cell : parts_of(header, ','))
            columns_.emplace_back(without_blanks(cell));
        std::vector<std::string> sorted = columns_;
        std::sort(sorted.begin(), sorted.end());
        is_uniform_ = sorted == std::vector<std::string>{"experts", "rows", "time_us"};
        if (!is_uniform_ && sorted != std::vector<std::string>{"expert_rows", "time_us"})
            throw Error(name +
                        ": the first line must name the columns, expert_rows,time_us or "
                        "rows,experts,time_us; it is " +
                        quoted_name(std::string(without_blanks(header))));
    }

    Measurement read(std::string_view line, long number) const {
        const std::vector<std::string_view> cells = parts_of(line, ',');
        const std::string where = name_ + ": line " + std::to_string(number);
        if (cells.size() != columns_.size())
            throw Error(where + ": has " + std::to_string(cells.size()) + " cells for " +
                        std::to_string(columns_.size()) + " columns");
        const auto cell = [&](const char* column) {
            const auto found = std::find(columns_.begin(), columns_.end(), column);
            return without_blanks(cells[found - columns_.begin()]);
        };
        Measurement measurement;
        measurement.line = number;
        measurement.time_us = number_of(cell("time_us"), where + ": time_us");
        if (measurement.time_us <= 0)
            throw Error(where + ": time_us is 0; a measured layer takes some time");
        if (is_uniform_) {
            const double experts = number_of(cell("experts"), where + ": experts");
            if (!(experts >= 1 && experts <= kMostOnRank && experts == std::floor(experts)))
                throw Error(where + ": experts must be a whole number from 1 to " +
                            std::to_string(kMostOnRank));
            measurement.rows.assign(static_cast<std::size_t>(experts),
                                    number_of(cell("rows"), where + ": rows") / experts);
            return measurement;
        }
        for (const std::string_view part : parts_of(cell("expert_rows"), ' '))
            if (!part.empty())
                measurement.rows.push_back(number_of(part, where + ": expert_rows"));
        if (measurement.rows.empty())
            throw Error(where + ": expert_rows lists no expert");
        return measurement;
    }

  private:
    static double number_of(std::string_view text, const std::string& what) {
        double value = 0;
        const char* const end = text.data() + text.size();
        const auto [rest, error] = std::from_chars(text.data(), end, value);
        if (error != std::errc() || rest != end || !(value >= 0 && value <= kMostRows))
            throw Error(what + ": " + quoted_name(std::string(text)) +
                        " is not a number from 0 to 1e15");
        return value;
    }

    const std::string& name_;
    std::vector<std::string> columns_;
    bool is_uniform_ = false;
};

}  // namespace

std::vector<Measurement> parse_measurements(std::string_view text, const std::string& name) {
    if (text.ends_with('\n'))
        text.remove_suffix(1);
    const std::vector<std::string_view> lines = parts_of(text, '\n');
    const MeasurementReader reader(lines.front(), name);
    std::vector<Measurement> measurements;
    for (std::size_t i = 1; i < lines.size(); ++i)
        measurements.push_back(reader.read(lines[i], static_cast<long>(i) + 1));
    return measurements;
}

}  // namespace eplb
