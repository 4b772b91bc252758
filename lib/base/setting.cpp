#include "lib/base/setting.h"

namespace eplb {
namespace {

std::string field_itself(std::string_view field) {
    return std::string(field);
}

std::string (*name_of)(std::string_view field) = field_itself;

}  // namespace

std::string setting(std::string_view field) {
    return name_of(field);
}

void name_settings(std::string (*name)(std::string_view field)) {
    name_of = name;
}

}  // namespace eplb
