#include "lib/time/time_profile_json.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"
#include "lib/base/setting.h"
#include "lib/base/strict_json.h"
#include "lib/base/text.h"

namespace eplb {
namespace {

using nlohmann::json;

constexpr const char* kProfileFormat = "eplb-time-profile";
constexpr int kProfileVersion = 1;

double number_in(const json& root,
                 const char* key,
                 const std::string& name,
                 double least,
                 double most,
                 const std::string& unit) {
    const json& value = json_member(root, key, name);
    const std::string what = name + ": " + key;
    if (!value.is_number())
        throw Error(what + " must be a number, of " + unit);
    const double number = value.get<double>();
    if (!(number >= least && number <= most))
        throw Error(what + " is " + formatted("%.6g", number) + ", which no GPU has: in " + unit +
                    " it is " + formatted("%g", least) + " to " + formatted("%g", most) +
                    "; see to the unit");
    return number;
}

std::string text_or_none(const json& root, const char* key, const std::string& name) {
    const json* const text = find_json_member(root, key);
    return text == nullptr ? "" : json_string(*text, name + ": " + key);
}

double six_digits(double value) {
    return std::strtod(formatted("%.6g", value).c_str(), nullptr);
}

}  // namespace

TimeProfile parse_time_profile(std::string_view text, const std::string& name) {
    const json root = parse_strict_json(text, name);
    require_format(root, kProfileFormat, kProfileVersion, name,
                   "; " + setting("fit_time_profile") + " makes such a file");
    refuse_other_keys(root,
                      {"format", "version", "name", "dtype", "kernel", "table", "t0_us",
                       "bytes_per_second", "flop_per_second", "fit_rms"},
                      name);
    TimeProfile profile;
    profile.name = text_or_none(root, "name", name);
    if (profile.name.empty())
        profile.name = name;
    profile.dtype = text_or_none(root, "dtype", name);
    profile.kernel = text_or_none(root, "kernel", name);
    profile.table = text_or_none(root, "table", name);
    profile.t0_us = number_in(root, "t0_us", name, 0, kMostT0, "microseconds");
    profile.bytes_per_second = number_in(root, "bytes_per_second", name, kLeastBandwidth,
                                         kMostBandwidth, "bytes per second");
    profile.flop_per_second =
        number_in(root, "flop_per_second", name, kLeastRate, kMostRate, "operations per second");
    if (find_json_member(root, "fit_rms") != nullptr)
        profile.fit_rms = number_in(root, "fit_rms", name, 0, 1, "shares of the time");
    return profile;
}

std::string write_time_profile(const TimeProfile& profile) {
    nlohmann::ordered_json root;
    root["format"] = kProfileFormat;
    root["version"] = kProfileVersion;
    for (const auto& [key, text] :
         {std::pair{"name", &profile.name}, std::pair{"dtype", &profile.dtype},
          std::pair{"kernel", &profile.kernel}, std::pair{"table", &profile.table}})
        if (!text->empty())
            root[key] = *text;
    root["t0_us"] = six_digits(profile.t0_us);
    root["bytes_per_second"] = six_digits(profile.bytes_per_second);
    root["flop_per_second"] = six_digits(profile.flop_per_second);
    if (profile.fit_rms)
        root["fit_rms"] = std::strtod(fixed(*profile.fit_rms, 4).c_str(), nullptr);
    // names of files may hold bytes that are no UTF-8
    constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
    return root.dump(2, ' ', false, kReplace) + "\n";
}

}  // namespace eplb
