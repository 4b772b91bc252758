#ifndef EPLB_BASE_SETTING_H
#define EPLB_BASE_SETTING_H

#include <string>
#include <string_view>

namespace eplb {

// How messages name what a caller can set: setting("num_experts") is the field's name here, and
// what whoever talks to a user has made of it with name_settings(): a tool's option,
// "--num_experts".
std::string setting(std::string_view field);

// For all messages from now on; once, before any thread.
void name_settings(std::string (*name)(std::string_view field));

}  // namespace eplb

#endif
