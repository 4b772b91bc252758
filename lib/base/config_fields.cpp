#include "lib/base/config_fields.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"

namespace eplb {

const nlohmann::json* ConfigFields::find(const char* field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigFields::has(const char* field) const {
    return find(field) != nullptr;
}

void ConfigFields::fail(const char* field, const std::string& what) const {
    throw Error(where_ + "field \"" + field + "\" " + what);
}

int ConfigFields::integer(const char* field, int least, int most) const {
    const nlohmann::json* const value = find(field);
    if (value == nullptr)
        fail(field, "is missing");
    if (!value->is_number_integer() || value->get<double>() < least || value->get<double>() > most)
        fail(field, "is " + value->dump() + "; it must be an integer from " +
                        std::to_string(least) + " to " + std::to_string(most));
    return value->get<int>();
}

int ConfigFields::size(const char* field, int most) const {
    return integer(field, 1, most);
}

int ConfigFields::size_or(const char* field, int otherwise) const {
    return has(field) ? integer(field, 1, kMostOfAnything) : otherwise;
}

int ConfigFields::index(const char* field) const {
    return integer(field, 0, kMostOfAnything);
}

int ConfigFields::index_or(const char* field, int otherwise) const {
    return has(field) ? integer(field, 0, kMostOfAnything) : otherwise;
}

double ConfigFields::real(const char* field) const {
    const nlohmann::json* const value = find(field);
    if (value == nullptr)
        fail(field, "is missing");
    if (!value->is_number() || !std::isfinite(value->get<double>()))
        fail(field, "is " + value->dump() + ", no number");
    return value->get<double>();
}

double ConfigFields::real_or(const char* field, double otherwise) const {
    return has(field) ? real(field) : otherwise;
}

double ConfigFields::positive_real(const char* field) const {
    const double value = real(field);
    if (value <= 0)
        fail(field, "must be above 0");
    return value;
}

bool ConfigFields::flag(const char* field) const {
    if (!has(field))
        fail(field, "is missing");
    return flag_or(field, false);
}

bool ConfigFields::flag_or(const char* field, bool otherwise) const {
    const nlohmann::json* const value = find(field);
    if (value == nullptr)
        return otherwise;
    if (!value->is_boolean())
        fail(field, "is " + value->dump() + ", neither true nor false");
    return value->get<bool>();
}

std::string ConfigFields::text_or(const char* field, const std::string& otherwise) const {
    const nlohmann::json* const value = find(field);
    if (value == nullptr)
        return otherwise;
    if (!value->is_string())
        fail(field, "is " + value->dump() + ", no string");
    return value->get<std::string>();
}

}  // namespace eplb
