#include <string>

#include "lib/time/time_profile_json.h"
#include "tests/test_support.h"

namespace eplb::test_time_profile {

using eplb::test::error_of;
using eplb::test::replaced;

namespace {

const std::string kText = R"({
  "format": "eplb-time-profile",
  "version": 1,
  "name": "mine",
  "dtype": "fp8",
  "kernel": "mine, too",
  "table": "mine.csv",
  "t0_us": 20.5,
  "bytes_per_second": 3.8e+12,
  "flop_per_second": 1.2e+15,
  "fit_rms": 0.04
}
)";

std::string fault(const std::string& part, const std::string& by) {
    return error_of([&] { parse_time_profile(replaced(kText, part, by), "p.json"); });
}

}  // namespace

TEST_CASE("a time profile is read") {
    const TimeProfile profile = parse_time_profile(kText, "p.json");
    CHECK(profile.name == "mine");
    CHECK(profile.dtype == "fp8");
    CHECK(profile.kernel == "mine, too");
    CHECK(profile.table == "mine.csv");
    CHECK(profile.t0_us == 20.5);
    CHECK(profile.bytes_per_second == 3.8e12);
    CHECK(profile.flop_per_second == 1.2e15);
    CHECK(profile.fit_rms == 0.04);
    const TimeProfile bare = parse_time_profile(
        R"({"format": "eplb-time-profile", "version": 1, "t0_us": 0, "bytes_per_second": 1e12,
            "flop_per_second": 1e15})",
        "p.json");
    CHECK(bare.name == "p.json");
    CHECK(bare.t0_us == 0);
    CHECK(!bare.fit_rms);
}

TEST_CASE("what is written is read again") {
    for (const TimeProfile& profile : built_in_profiles())
        CHECK(parse_time_profile(write_time_profile(profile), "p.json") == profile);
}

TEST_CASE("faults of a profile name the file, the member and the unit") {
    CHECK(fault("\"t0_us\"", "\"t0\"") == "p.json: unknown key \"t0\"");
    CHECK(fault("  \"t0_us\": 20.5,\n", "") == "p.json: key \"t0_us\" is missing");
    CHECK(fault("20.5", "-1") ==
          "p.json: t0_us is -1, which no GPU has: in microseconds it is 0 to 100000; see to the "
          "unit");
    CHECK_STARTS_WITH(fault("20.5", "NaN"), "p.json: line 8: no valid JSON from here on");
    CHECK(fault("20.5", "null") == "p.json: t0_us must be a number, of microseconds");
    CHECK(fault("20.5", "true") == "p.json: t0_us must be a number, of microseconds");
    CHECK(fault("3.8e+12", "3.8") ==
          "p.json: bytes_per_second is 3.8, which no GPU has: in bytes per second it is 1e+09 to "
          "1e+15; see to the unit");
    for (const char* const value : {"0", "-1e15", "1e30"}) {
        CHECK_STARTS_WITH(fault("1.2e+15", value), "p.json: flop_per_second is ");
        CHECK_STARTS_WITH(fault("3.8e+12", value), "p.json: bytes_per_second is ");
    }
    CHECK(fault("1.2e+15", "1e999") == "p.json: holds a number too large for any reader");
    CHECK(fault("\"fp8\"", "8") == "p.json: dtype is 8, it must be a string");
    CHECK_STARTS_WITH(fault("eplb-time-profile", "eplb-config"),
                      "p.json: format must be \"eplb-time-profile\"");
    CHECK_STARTS_WITH(fault("\"version\": 1", "\"version\": 2"),
                      "p.json: version 2 was written by a newer tool");
    CHECK_STARTS_WITH(fault("\"name\": \"mine\"", "\"name\": \"mine\", \"name\": \"x\""),
                      "p.json: key \"name\" stands twice");
    CHECK_STARTS_WITH(error_of([] { parse_time_profile("[]", "p.json"); }), "p.json: the content");
}

}  // namespace eplb::test_time_profile
