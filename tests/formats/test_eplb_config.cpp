
#include "lib/base/error.h"
#include "lib/formats/configs/eplb_config.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_eplb_config {

using eplb::test::error_of;
using eplb::test::read_text;
using eplb::test::replaced;
using eplb::test::TemporaryFolder;
using eplb::test::write_text;

namespace {

const std::filesystem::path kFixtures = test::test_data() / "formats";

const std::string kSmall =
    "initial_global_assignments:\n"
    "  3: [0, 1, 2, 0]\n"
    "  5: [2, 1, 0, 1]\n"
    "layer_updates_per_iter: 0\n"
    "num_slots: 4\n";

EplbConfig small_config() {
    return {4, 0, {{3, {0, 1, 2, 0}}, {5, {2, 1, 0, 1}}}};
}

EplbConfig parse(const std::string& text, const EplbConfigExpectation& expectation = {}) {
    return parse_eplb_config(text, "eplb.yaml", expectation);
}

std::string error_for(const std::string& text, const EplbConfigExpectation& expectation = {}) {
    return error_of([&] { parse(text, expectation); });
}

}  // namespace

TEST_CASE("a config that PyYAML wrote is read and written back byte by byte") {
    const EplbConfig config = read_eplb_config((kFixtures / "eplb_config.yaml").string());
    CHECK(config.num_slots == 6);
    CHECK(config.layer_updates_per_iter == 0);
    CHECK(config.initial_global_assignments ==
          std::map<int, std::vector<int>>{{3, {3, 2, 1, 0, 0, 1}}, {10, {0, 1, 2, 3, 1, 0}}});
    CHECK(format_eplb_config(config) == read_text(kFixtures / "eplb_config.yaml"));
    const EplbConfig wide =
        read_eplb_config((kFixtures / "eplb_config_wide.yaml").string(), {256, 36});
    CHECK(format_eplb_config(wide) == read_text(kFixtures / "eplb_config_wide.yaml"));
}

TEST_CASE("what is written is read again") {
    CHECK(format_eplb_config(small_config()) == kSmall);
    CHECK(parse(kSmall) == small_config());
    const EplbConfig without = {8, 2, {}};
    CHECK(format_eplb_config(without) == "layer_updates_per_iter: 2\nnum_slots: 8\n");
    CHECK(parse(format_eplb_config(without)) == without);
}

TEST_CASE("any yaml style means the same") {
    CHECK(parse("{num_slots: 4, initial_global_assignments: {5: [2,1,0,1], 3: [0,1,2,0]}}") ==
          small_config());
    CHECK(parse("# comment\n---\n'num_slots': 4\n\"initial_global_assignments\":\n"
                "    3:\n    - 0\n    - 1\n    - 2\n    - 0\n"
                "    5: [2, 1,\n        0, 1]  # two lines\n...\n") == small_config());
    CHECK(parse("num_slots: 4\ninitial_global_assignments: {3: &a [0, 1, 2, 0], 5: *a}\n")
              .initial_global_assignments.at(5) == std::vector{0, 1, 2, 0});
}

TEST_CASE("absent assignments may be spelled in any way") {
    for (const char* const none :
         {"", "initial_global_assignments:\n", "initial_global_assignments: null\n",
          "initial_global_assignments: ~\n"})
        CHECK(parse("num_slots: 4\n" + std::string(none)) == EplbConfig{4, 0, {}});
}

// upstream asks whether the member is None; in an empty mapping it finds no layer and dies
TEST_CASE("an empty mapping of assignments is refused") {
    const std::string error =
        error_of([] { parse("num_slots: 4\ninitial_global_assignments: {}\n"); });
    CHECK(error.find("line 2: initial_global_assignments is empty") != std::string::npos);
}

TEST_CASE("each fault is refused with file and line") {
    struct Case {
        std::string part;
        std::string by;
        std::string error;
    };
    const std::vector<Case> cases = {
        {"0, 1, 2, 0", "0, 1, 2", "line 2: layer 3: 3 entries where num_slots is 4"},
        {"2, 1, 0, 1", "2, 1, 0, 1, 1", "line 3: layer 5: 5 entries where num_slots is 4"},
        {"[2, 1, 0, 1]", "[]", "line 3: layer 5: 0 entries where num_slots is 4"},
        {"2, 1, 0, 1", "0, 1, 0, 1", "line 3: layer 5: expert 2 has no slot; each of the 3"},
        {"2, 1, 0, 1", "2, -1, 0, 1", "line 3: layer 5: an expert id is -1, it must be at least 0"},
        {"2, 1, 0, 1", "2, 1.0, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, 1e0, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, '1', 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, \"1\", 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, 01, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, 0x1, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, +1, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, 1_0, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, true, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, null, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, [1], 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, !!str 1, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, 99999999999, 0, 1", "line 3: layer 5: an expert id must be an integer"},
        {"2, 1, 0, 1", "2, 1, 0, 2147483647", "line 5: num_slots 4 is less than num_experts 2147"},
        {"2, 1, 0, 1", "2, 1, 0, 4", "line 5: num_slots 4 is less than num_experts 5"},
        {"[2, 1, 0, 1]", "4", "line 3: layer 5: must be a list of expert ids"},
        {"[2, 1, 0, 1]", "{2: 1}", "line 3: layer 5: must be a list of expert ids"},
        {"[2, 1, 0, 1]", "null", "line 3: key 5 has no value"},
        {" [2, 1, 0, 1]", "", "line 3: key 5 has no value"},
        {"  5:", "  3:", "line 3: key 3 stands there twice"},
        {"  5:", "  \"\\e[2J\": 1\n  \"\\e[2J\":", "line 4: key ?[2J stands there twice"},
        {"iter: 0", "iter: 0\n\"\\e[2J\":", "line 5: key ?[2J has no value"},
        {"iter: 0", "iter: 0\n\"\\e[2J\": 1", "line 5: unknown key ?[2J; the engine accepts"},
        {"  5:", "  x:", "line 3: a layer id must be an integer"},
        {"  5:", "  '5':", "line 3: a layer id must be an integer"},
        {"  5:", "  -5:", "line 3: a layer id is -5"},
        {"  5:", "  [5]:", "line 3: the keys of initial_global_assignments must be plain"},
        {"iter: 0", "iter: -1", "line 4: layer_updates_per_iter is -1, it must be at least 0"},
        {"iter: 0", "iter: '0'", "line 4: layer_updates_per_iter must be an integer"},
        {"iter: 0", "iter:", "line 4: key layer_updates_per_iter has no value"},
        {"num_slots: 4", "num_slots: 0", "line 5: num_slots is 0, it must be at least 1"},
        {"num_slots: 4", "num_slots: four", "line 5: num_slots must be an integer"},
        {"num_slots: 4", "num_slots: null", "line 5: key num_slots has no value"},
        {"num_slots: 4\n", "", "line 1: num_slots is missing"},
        {"num_slots: 4\n", "num_slots: 4\nnum_slots: 4\n", "line 6: key num_slots stands there"},
        {"num_slots: 4\n", "num_slots: 4\nep_size: 2\n", "line 6: unknown key ep_size; the engine"},
        {"num_slots: 4\n", "num_slots: 4\n<<: {a: 1}\n", "line 6: unknown key <<"},
        {"num_slots: 4\n", "num_slots: 4\n---\na: 1\n", "line 7: a second document"},
        {"num_slots: 4\n", "num_slots: [4\n", "line "},
        {"num_slots: 4\n", "num_slots: \t4: 5: 6\n", "line 5: no valid yaml: "},
        {"  5: [", "\t5: [", "line "},
        {kSmall, "", "line 1: the file is empty"},
        {kSmall, "# nothing\n", "line 1: the file is empty"},
        {kSmall, "[]", "line 1: an EPLB config must be a mapping"},
        {kSmall, "4", "line 1: an EPLB config must be a mapping"},
        {kSmall, std::string(100'000, '['), ""},
        {kSmall, std::string(100'000, '{'), ""},
    };
    for (const Case& broken : cases) {
        INFO(broken.by.substr(0, 100));
        CHECK_STARTS_WITH(error_for(replaced(kSmall, broken.part, broken.by)),
                          "eplb.yaml: " + broken.error);
    }
}

TEST_CASE("what the caller knows is checked too") {
    CHECK(parse(kSmall, {3, 2}) == small_config());
    CHECK_STARTS_WITH(error_for(kSmall, {2, 0}),
                      "eplb.yaml: line 2: layer 3: expert id 2 is outside [0, 2)");
    CHECK_STARTS_WITH(error_for(kSmall, {4, 0}),
                      "eplb.yaml: line 2: layer 3: expert 3 has no slot");
    CHECK_STARTS_WITH(error_for(kSmall, {5, 0}),
                      "eplb.yaml: line 5: num_slots 4 is less than num_experts 5");
    CHECK_STARTS_WITH(error_for(kSmall, {0, 3}),
                      "eplb.yaml: line 5: num_slots 4 is no multiple of ep_size 3");
    CHECK_STARTS_WITH(error_for("num_slots: 4", {5, 0}), "eplb.yaml: line 1: num_slots 4 is less");
}

TEST_CASE("a config cut off at any byte is an error or a config with less in it") {
    // what is left after a cut may be whole yaml: the last key may have lost digits or the list of
    // layers its end. With the keys in upstream's order num_slots comes last, so only cuts inside
    // its value, or of the last newline, can succeed
    const std::size_t value = kSmall.find("num_slots: ") + std::string("num_slots: ").size();
    for (std::size_t size = 0; size < kSmall.size(); ++size) {
        CAPTURE(size);
        const std::string error = error_for(kSmall.substr(0, size));
        if (size <= value)
            CHECK_STARTS_WITH(error, "eplb.yaml: line ");
        else
            CHECK(error.empty());
    }
}

TEST_CASE("a flipped bit gives an error or another valid config") {
    for (std::size_t bit = 0; bit < 8 * kSmall.size(); ++bit) {
        std::string flipped = kSmall;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        const std::string error = error_for(flipped);
        CHECK((error.empty() || error.starts_with("eplb.yaml: ")));
    }
}

TEST_CASE("our own spelling, read without the yaml parser, means what the parser says") {
    // a comment at the end changes nothing, but makes the parser read it
    const auto check = [](const std::string& text, const EplbConfigExpectation& expectation) {
        CAPTURE(text);
        const std::string commented = text + "\n# a comment\n";
        const std::string error = error_for(text, expectation);
        CHECK(error == error_for(commented, expectation));
        if (error.empty())
            CHECK(parse(text, expectation) == parse(commented, expectation));
    };
    const std::string wide = read_text(kFixtures / "eplb_config_wide.yaml");
    for (const EplbConfigExpectation& expectation :
         {EplbConfigExpectation{}, {3, 2}, {4, 0}, {2, 0}, {0, 3}, {256, 36}, {255, 0}, {0, 7}}) {
        check(kSmall, expectation);
        check(wide, expectation);
        // each digit another one
        for (std::size_t i = 0; i < kSmall.size(); ++i)
            if (kSmall[i] >= '0' && kSmall[i] <= '9')
                for (const std::string digits : {"0", "1", "2", "9", "12", "-1", "99999999999"})
                    check(kSmall.substr(0, i) + digits + kSmall.substr(i + 1), expectation);
    }
    for (const std::string text :
         {"layer_updates_per_iter: 0\nnum_slots: 0\n", "layer_updates_per_iter: 2\nnum_slots: 8\n",
          "layer_updates_per_iter: 0\nnum_slots: 2000000\n",
          "initial_global_assignments:\nlayer_updates_per_iter: 0\nnum_slots: 4\n",
          "initial_global_assignments:\n  3: []\nlayer_updates_per_iter: 0\nnum_slots: 1\n",
          "initial_global_assignments:\n  3: [0]\n  3: [0]\nlayer_updates_per_iter: 0\n"
          "num_slots: 1\n",
          "initial_global_assignments:\n  5: [0]\n  3: [0]\nlayer_updates_per_iter: 0\n"
          "num_slots: 1\n"})
        check(text, {});
}

TEST_CASE("a file that is absent is named") {
    CHECK_STARTS_WITH(error_of([] { read_eplb_config("absent.yaml"); }),
                      "absent.yaml: cannot open");
}

TEST_CASE("options give the balancer as a path, inline or not at all") {
    const TemporaryFolder folder;
    const std::string path = (folder / "options.yaml").string();
    const auto options = [&](const std::string& text) {
        write_text(path, text);
        return read_moe_options(path, {3, 2});
    };
    write_text(folder / "eplb.yaml", kSmall);
    const std::string config = (folder / "eplb.yaml").string();

    const MoeOptions from_path = options(
        "enable_attention_dp: true\nmoe_config:\n  backend: WIDEEP\n  max_num_tokens: 9216\n"
        "  load_balancer: " +
        config + "\nprint_iter_log: true\n");
    CHECK(from_path.max_num_tokens == 9216);
    CHECK(from_path.has_load_balancer);
    CHECK(from_path.load_balancer == small_config());

    const MoeOptions in_line =
        options("moe_config:\n  load_balancer:\n    num_slots: 4\n    layer_updates_per_iter: 1\n");
    CHECK(in_line.max_num_tokens == 0);
    CHECK(in_line.has_load_balancer);
    CHECK(in_line.load_balancer == EplbConfig{4, 1, {}});

    for (const char* const none : {"a: 1\n", "moe_config:\n", "moe_config: {}\n",
                                   "moe_config: {load_balancer: null, max_num_tokens: null}\n"}) {
        const MoeOptions nothing = options(none);
        CHECK(nothing.max_num_tokens == 0);
        CHECK_FALSE(nothing.has_load_balancer);
    }
}

TEST_CASE("faults of the options are refused with file and line") {
    const TemporaryFolder folder;
    const std::string path = (folder / "options.yaml").string();
    const auto check = [&](const std::string& text, const std::string& fault) {
        write_text(path, text);
        CHECK_STARTS_WITH(error_of([&] { read_moe_options(path, {3, 2}); }), path + ": " + fault);
    };
    check("", "line 1: the file is empty");
    check("[]", "line 1: an options file must be a mapping");
    check("moe_config: 5\n", "line 1: moe_config must be a mapping");
    check("moe_config:\n  max_num_tokens: 0\n", "line 2: max_num_tokens is 0");
    check("moe_config:\n  max_num_tokens: 1e3\n", "line 2: max_num_tokens must be an integer");
    check("moe_config:\n  load_balancer: [1]\n", "line 2: load_balancer must be the path");
    check("moe_config:\n  load_balancer:\n    num_slots: 5\n",
          "line 3: num_slots 5 is no multiple");
    check("moe_config:\n  load_balancer:\n    slots: 4\n", "line 3: unknown key slots");
    check("moe_config: {}\nmoe_config: {}\n", "line 2: key moe_config stands there twice");
    check("moe_config:\n  load_balancer: absent.yaml\n",
          "line 2: load_balancer: absent.yaml: cannot open");
}

TEST_CASE("options cut off at any byte are an error or options that were not all there") {
    const TemporaryFolder folder;
    const std::string path = (folder / "options.yaml").string();
    const std::string whole =
        "moe_config:\n  max_num_tokens: 9\n  load_balancer: {num_slots: 4, "
        "initial_global_assignments: {3: [0, 1, 2, 0]}}\n";
    for (std::size_t size = 0; size <= whole.size(); ++size) {
        CAPTURE(size);
        write_text(path, whole.substr(0, size));
        MoeOptions options;
        const std::string error = error_of([&] { options = read_moe_options(path, {3, 2}); });
        if (size + 1 >= whole.size())  // but for the newline
            CHECK(options.load_balancer.initial_global_assignments.size() == 1);
        else if (error.empty())
            CHECK(options.load_balancer.initial_global_assignments.empty());
        else
            CHECK(error.find(path + ": ") == 0);
    }
}

// yaml-cpp finds such documents without end
TEST_CASE("text that belongs to no document is refused in bounded time") {
    for (const char* const text : {",u", ",", "[,u", "num_slots: 2\n]\n", "]", "}", "- 1\n}"}) {
        CAPTURE(text);
        CHECK_STARTS_WITH(error_of([&] { parse_eplb_config(text, "eplb.yaml"); }),
                          "eplb.yaml: line ");
    }
}

}  // namespace eplb::test_eplb_config
