#include <cmath>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/formats/configs/config_file.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_engine_configs {

using eplb::test::error_of;
using eplb::test::read_text;
using eplb::test::replaced;

namespace {

using nlohmann::json;

const std::filesystem::path kFixtures = test::test_data() / "formats" / "configs";

// the model and the placement of tests/data/formats/make_config_fixtures.py, which builds the files
// from the engines' rules
const ModelShape kModel = {6, 5, {1, 2, 4}, 2, 0};
constexpr int kEpSize = 4;
const EplbConfig kPlacement = {
    8,
    0,
    {{1, {0, 1, 2, 3, 4, 5, 0, 2}}, {2, {5, 4, 3, 2, 1, 0, 5, 3}}, {4, {0, 3, 1, 4, 2, 5, 1, 0}}}};

ConfigContext context() {
    ConfigContext context = context_of(kModel, kEpSize);
    context.model_key = "main";
    return context;
}

struct Fixture {
    const char* file;
    ConfigFormat format;
};
const std::vector<Fixture> kFiles = {
    {"trtllm.yaml", ConfigFormat::trtllm},           {"sglang.json", ConfigFormat::sglang},
    {"vllm_ascend.json", ConfigFormat::vllm_ascend}, {"hygon.json", ConfigFormat::hygon},
    {"hygon_legacy.json", ConfigFormat::hygon},      {"plain.json", ConfigFormat::plain}};

std::string fixture(const std::string& file) {
    return read_text(kFixtures / file);
}

std::string error_for(const std::string& text,
                      const ConfigContext& given,
                      std::optional<ConfigFormat> format = std::nullopt) {
    return error_of([&] { parse_config(text, "f", given, format); });
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// The config of kPlacement, of which some engine's rule is then broken.
EngineConfig engine_config() {
    EngineConfig config;
    config.config = kPlacement;
    config.ep_size = kEpSize;
    config.num_experts = kModel.num_experts;
    config.model_key = "main";
    return config;
}

ConfigVerdict verdict_on(const EplbConfig& eplb, const Engine& engine, const ModelShape& model) {
    EngineConfig config = engine_config();
    config.config = eplb;
    return check_config(format_config(config, *engine.config_format, {0, 0, 5, {}, ""}), "f",
                        engine, model, kEpSize);
}

}  // namespace

TEST_CASE("every engine's file is recognised and holds the same placement") {
    for (const auto& [file, format] : kFiles) {
        CAPTURE(file);
        const std::string text = fixture(file);
        CHECK(recognize_config(text, file, context()) == format);
        for (const auto known : {std::optional(format), std::optional<ConfigFormat>()}) {
            const EngineConfig config = parse_config(text, file, context(), known);
            CHECK(config.config == kPlacement);
            CHECK(config.num_experts == 6);
            CHECK(config.ep_size == 4);
            CHECK(config.warnings.empty());
        }
        CHECK(read_config((kFixtures / file).string(), context()).config == kPlacement);
    }
}

TEST_CASE("what is written holds what the engine's own rules ask for") {
    const ConfigContext all = context();
    for (const auto& [file, format] : kFiles) {
        if (format == ConfigFormat::trtllm || std::string(file) == "hygon_legacy.json")
            continue;
        CAPTURE(file);
        const EngineConfig config = parse_config(fixture(file), file, all);
        json expected = json::parse(fixture(file));
        if (format == ConfigFormat::hygon)
            expected["model_maps"].erase("mtp");
        CHECK(json::parse(format_config(config, format, all)) == expected);
    }
    // PyYAML's text, byte by byte
    CHECK(format_config(engine_config(), ConfigFormat::trtllm) == fixture("trtllm.yaml"));
}

TEST_CASE("each format is read again as it was written") {
    for (const auto& [file, from] : kFiles)
        for (const std::string& name : config_format_names()) {
            const ConfigFormat to = config_format_of(name);
            CAPTURE(file, name);
            const EngineConfig config = parse_config(fixture(file), file, context(), from);
            const std::string text = format_config(config, to, context());
            const EngineConfig again = parse_config(text, "again", context());
            CHECK(again.config == kPlacement);
            CHECK(format_config(again, to, context()) == text);
            if (from == to)
                CHECK(again.model_class == config.model_class);
        }
}

TEST_CASE("plain keeps metrics, notes and provenance") {
    const auto check = [](const EngineConfig& config) {
        CHECK(config.layer_notes.size() == 2);
        CHECK(config.layer_notes.at(1).algorithm == "risk");
        CHECK(config.layer_notes.at(1).metrics.aggregated == 0.125);
        CHECK(config.layer_notes.at(1).metrics.predicted == 0.25);
        CHECK(std::isnan(config.layer_notes.at(1).metrics.bound));
        CHECK(config.layer_notes.at(2).algorithm == "aggregated");
        CHECK(std::isnan(config.layer_notes.at(2).metrics.aggregated));
        CHECK(config.metrics.aggregated == 0.1);
        CHECK(config.metrics.bound == 0);
        CHECK(config.metrics.noise_floor == 0.001);
        CHECK(config.metrics.fitted == 0.2);
        CHECK(config.metrics.predicted == 0.3);
        CHECK(config.metrics.predicted_greedy == 0.7);
        CHECK(config.provenance.inputs == std::vector<std::string>{"stats/a", "stats/\xC3\xBC"});
        CHECK(config.provenance.flags == std::vector<std::string>{"--ep_size", "4"});
        CHECK(config.provenance.version == "0.1.0");
    };
    const EngineConfig config = read_config((kFixtures / "plain.json").string());
    check(config);
    check(parse_config(format_config(config, ConfigFormat::plain), "again"));

    // nothing known: nothing written; a name that is no UTF-8 is still JSON
    EngineConfig bare = engine_config();
    bare.provenance.inputs = {"a\xFF"};
    const json written = json::parse(format_config(bare, ConfigFormat::plain));
    CHECK_FALSE(written.contains("metrics"));
    CHECK(written["layers"][0].size() == 2);
    CHECK(written["provenance"]["inputs"][0] == "a\xEF\xBF\xBD");
}

TEST_CASE("a config without assignments is TensorRT-LLM's or plain") {
    EngineConfig online = read_config((kFixtures / "plain_online.json").string());
    CHECK(online.config == EplbConfig{8, 2, {}});
    for (const ConfigFormat format : {ConfigFormat::trtllm, ConfigFormat::plain})
        CHECK(parse_config(format_config(online, format), "again").config == online.config);
    for (const ConfigFormat format :
         {ConfigFormat::sglang, ConfigFormat::vllm_ascend, ConfigFormat::hygon}) {
        CHECK(has(error_of([&] { format_config(online, format, context()); }),
                  "holds placements, and this config leaves them to the engine"));
        EngineConfig both = engine_config();
        both.config.layer_updates_per_iter = 1;
        CHECK(has(error_of([&] { format_config(both, format, context()); }),
                  "has no layer_updates_per_iter"));
    }
}

TEST_CASE("every broken text is refused, with its fault") {
    const json cases = json::parse(fixture("broken.json"));
    CHECK(cases.size() > 100);
    for (const json& broken : cases) {
        const std::string text = broken["text"];
        const ConfigFormat format = config_format_of(broken["format"]);
        const std::string error = error_for(text, context(), format);
        CAPTURE(text, error);
        CHECK(error.starts_with("f: "));
        CHECK(has(error, broken["says"].get<std::string>()));
        const Engine* const engine = engine_of(format);
        if (engine == nullptr)
            continue;
        const ConfigVerdict verdict = check_config(text, "f", *engine, kModel, kEpSize, "main");
        CHECK(verdict.errors == std::vector<std::string>{error});
    }
}

TEST_CASE("JSON that readers could understand in different ways is refused") {
    const std::string good = fixture("plain.json");
    const auto check = [&](const std::string& part, const std::string& by,
                           const std::string& says) {
        const std::string error = error_for(replaced(good, part, by), context());
        CAPTURE(by, error);
        CHECK(has(error, says));
    };
    check("{", "{\"version\": 1, ", "key \"version\" stands twice");
    check("{", "{\"\\u009b2J\": 1, \"\\u009b2J\": 1, ", "key \"??2J\" stands twice");
    check("{", "{\"\\u009b2J\": 1, ", "unknown key \"??2J\"");
    check("\"layer\": 1", "\"layer\": 1, \"layer\": 1", "key \"layer\" stands twice");
    check("\"bound\": 0", "\"bound\": NaN", "line 1: no valid JSON");
    check("\"bound\": 0", "\"bound\": 1e999", "a number too large");
    check("\"bound\": 0", "\"bound\": 00", "line 1: no valid JSON");
    check("[0, 1]", "[0, 1,]", "line 1: no valid JSON");
    check("\n", "\n\n{}", "line 3: no valid JSON");
    check("risk", "\xFF", "line 1: no valid JSON");
    CHECK(has(error_for("\xEF\xBB\xBF" + good, {}, ConfigFormat::plain), "byte order mark"));
    for (const std::string open : {"[", "{\"a\":"}) {
        std::string deep;
        for (int i = 0; i < 100'000; ++i)
            deep += open;
        CHECK(has(error_for(deep, {}), "nested more than 32 deep"));
    }
    // the same key in two objects is none twice
    CHECK(error_for(R"({"format": "eplb-config", "version": 1, "num_slots": 2, "metrics":
                    {"bound": 0}, "provenance": {"version": "2"}})",
                    {})
              .empty());
}

TEST_CASE("a text cut off at any byte is refused") {
    for (const auto& [file, format] : kFiles) {
        if (format == ConfigFormat::trtllm)
            continue;  // tests/formats/test_eplb_config.cpp: a cut may leave whole yaml
        const std::string text = fixture(file);
        CAPTURE(file);
        for (std::size_t size = 0; size + 1 < text.size(); ++size) {
            CAPTURE(size);
            CHECK_STARTS_WITH(error_for(text.substr(0, size), context(), format), "f: ");
            if (size % 8 == 0)
                CHECK_STARTS_WITH(error_for(text.substr(0, size), context()), "f: ");
        }
    }
}

TEST_CASE("a flipped bit in an engine's file gives an error or another valid config") {
    for (const auto& [file, format] : kFiles) {
        const std::string text = fixture(file);
        CAPTURE(file);
        for (std::size_t byte = 0; byte < text.size(); ++byte) {
            std::string flipped = text;
            flipped[byte] = static_cast<char>(flipped[byte] ^ (1 << byte % 8));
            const std::string error = error_for(flipped, context(), format);
            CHECK((error.empty() || error.starts_with("f: ")));
        }
    }
}

TEST_CASE("SGLang's rows and hygon's older ones are told apart by the model, or not at all") {
    const std::string rows = fixture("hygon_legacy.json");  // three of them
    const auto recognized = [&](int num_hidden_layers, const std::vector<int>& moe_layers) {
        return recognize_config(rows, "f", {0, 0, num_hidden_layers, moe_layers, ""});
    };
    CHECK(recognized(3, {1, 2}) == ConfigFormat::sglang);
    CHECK(recognized(5, {1, 2, 4}) == ConfigFormat::hygon);
    CHECK(recognized(3, {0, 1, 2}) == ConfigFormat::sglang);  // the same in both
    CHECK(recognized(0, {1, 2, 4}) == ConfigFormat::hygon);   // no row for a layer 4
    CHECK(recognized(0, {1, 2}) == ConfigFormat::sglang);
    for (const auto& known : {std::pair(0, std::vector<int>()), {5, {1, 2}}, {3, {}}, {5, {}}})
        CHECK(has(error_of([&] { recognized(known.first, known.second); }),
                  "name it, config_format sglang or hygon"));
    CHECK(recognize_config(replaced(rows, "{", "{\"num_moe_layers\": 3, "), "f", {}) ==
          ConfigFormat::hygon);
}

TEST_CASE("what is no config is said to be none") {
    for (const std::string text : {"{}", "{\"a\": 1}", " { \"scores\": [] }"})
        CHECK(has(error_for(text, {}), "has the keys of no known format"));
    CHECK(has(error_for("{\"logical_count\": [[1]]}", {}), "holds counts"));
    CHECK(has(error_for("[]", {}), "must be an object"));
    CHECK(has(error_for("{num_slots: 4, slots: 4}", {}), "unknown key slots"));
    CHECK(has(error_for("", {}), "the file is empty"));
    CHECK(parse_config("{\"num_slots\": 4}", "f").config.num_slots == 4);
    CHECK(parse_config("{num_slots: 4}", "f").config.num_slots == 4);
    CHECK_STARTS_WITH(error_of([] { read_config("absent.json"); }), "absent.json: cannot open");
    CHECK(has(error_of([] { config_format_of("vllm_ascend"); }),
              "known are trtllm, sglang, vllm-ascend, hygon, plain"));
}

TEST_CASE("layers by position need the model, and are never guessed") {
    for (const char* const file : {"sglang.json", "vllm_ascend.json", "hygon.json"}) {
        CAPTURE(file);
        ConfigContext without = context();
        without.moe_layers.clear();
        CHECK(
            has(error_for(fixture(file), without, recognize_config(fixture(file), "f", context())),
                "the ids of its MoE layers"));
        for (const std::vector<int>& wrong : {std::vector{2, 1, 4}, std::vector{1, 1, 2},
                                              std::vector{-1, 1, 2}, std::vector{1, 2, 1 << 30}}) {
            ConfigContext bad = context();
            bad.moe_layers = wrong;
            CHECK(has(error_for(fixture(file), bad), "ids of MoE layers must rise"));
        }
    }
    ConfigContext beyond = {0, 0, 0, {1, 2, 5}, ""};
    CHECK(has(error_for(fixture("sglang.json"), beyond, ConfigFormat::sglang),
              "has 5 rows, none for the model's layer 5"));
}

TEST_CASE("rows of dense layers in SGLang's file are not lost silently") {
    const std::string text = fixture("sglang.json");
    // row 0 is dense: another order is as valid to SGLang
    const std::string other =
        replaced(text, "[0, 1, 2, 3, 4, 5, 0, 1]", "[5, 1, 2, 3, 4, 0, 0, 1]");
    const EngineConfig config = parse_config(other, "f", context());
    CHECK(config.config == kPlacement);
    REQUIRE(config.warnings.size() == 1);
    CHECK(has(config.warnings[0], "f: 1 rows of dense layers (the first: 0)"));
    // the MoE layers taken for others
    ConfigContext shifted = context();
    shifted.moe_layers = {0, 1, 2};
    CHECK(has(parse_config(text, "f", shifted).warnings.at(0), "(the first: 4)"));
}

TEST_CASE("vllm-ascend goes by position whatever layer_id says") {
    const std::string text =
        replaced(fixture("vllm_ascend.json"), "\"layer_id\": 1", "\"layer_id\": 7");
    const EngineConfig config = parse_config(text, "f", context());
    CHECK(config.config == kPlacement);
    REQUIRE(config.warnings.size() == 1);
    CHECK(has(config.warnings[0], "layer_id is not always the position"));
}

TEST_CASE("hygon's models are chosen by key") {
    const std::string text = fixture("hygon.json");
    ConfigContext mtp = {6, 4, 0, {5}, "mtp"};
    const EngineConfig config = parse_config(text, "f", mtp);
    CHECK(config.config.initial_global_assignments ==
          std::map<int, std::vector<int>>{{5, kPlacement.initial_global_assignments.at(4)}});
    CHECK(config.model_key == "mtp");
    mtp.model_key = "";
    CHECK(has(error_for(text, mtp),
              "holds several models; give the key of one with model_key: \"main\", \"mtp\""));
    EngineConfig without = engine_config();
    without.model_key = "";
    CHECK(has(error_of([&] { format_config(without, ConfigFormat::hygon); }), "give model_key"));
}

TEST_CASE("what the file and the caller know must agree") {
    for (const char* const file : {"vllm_ascend.json", "plain.json"}) {
        ConfigContext other = context();
        other.ep_size = 8;
        CHECK(has(error_for(fixture(file), other), "is for ep_size 4, not 8"));
    }
    for (const char* const file : {"sglang.json", "hygon.json"}) {
        ConfigContext other = context();
        other.ep_size = 3;
        CHECK(has(error_for(fixture(file), other), "num_slots 8 is no multiple of ep_size 3"));
    }
    const std::string plain = fixture("plain.json");
    CHECK(has(error_for(replaced(plain, "num_experts\": 6", "num_experts\": 5"), {}),
              "layer 1: expert id 5 is outside [0, 5)"));
    CHECK(has(error_for(replaced(plain, "num_experts\": 6", "num_experts\": 9"), {}),
              "num_slots 8 is less than num_experts 9"));
    for (const auto& [file, format] : kFiles) {
        CAPTURE(file);
        ConfigContext other = context();
        other.num_experts = 7;
        CHECK_FALSE(error_for(fixture(file), other).empty());
        other.num_experts = 0;
        CHECK(parse_config(fixture(file), "f", other).num_experts == 6);
    }
}

TEST_CASE("a config that a format cannot say is not written") {
    const auto error = [](const EngineConfig& config, ConfigFormat format,
                          const ConfigContext& given) {
        return error_of([&] { format_config(config, format, given); });
    };
    EngineConfig config = engine_config();
    CHECK(has(error(config, ConfigFormat::sglang, {}), "their number is not known"));
    CHECK(has(error(config, ConfigFormat::sglang, {0, 0, 4, {}, ""}),
              "layer 4 is beyond the model's 4 decoder layers"));
    for (const ConfigFormat format :
         {ConfigFormat::sglang, ConfigFormat::vllm_ascend, ConfigFormat::hygon}) {
        CHECK(has(error(config, format, {0, 0, 5, {1, 2, 3, 4}, ""}), "no entry for layer 3 of"));
        CHECK(has(error(config, format, {0, 0, 5, {1, 2}, ""}),
                  "layer 4, which is no MoE decoder layer"));
    }
    config.ep_size = 0;
    CHECK(has(error(config, ConfigFormat::vllm_ascend, {}), "give ep_size"));
    CHECK(has(error(config, ConfigFormat::plain, {}), "give ep_size"));
    config.ep_size = 3;
    CHECK(has(error(config, ConfigFormat::plain, {}), "no multiple of ep_size 3"));
    config = engine_config();
    config.config.initial_global_assignments[2][0] = 6;
    CHECK(has(error(config, ConfigFormat::trtllm, {}), "layer 2: expert id 6 is outside [0, 6)"));
    config.config.initial_global_assignments[2][0] = -1;
    CHECK(has(error(config, ConfigFormat::trtllm, {}), "layer 2: expert id -1 is outside"));
    config.config.initial_global_assignments[2].pop_back();
    CHECK(has(error(config, ConfigFormat::trtllm, {}), "layer 2: 7 slots where num_slots is 8"));
}

TEST_CASE("rows of dense layers are written as SGLang fills them") {
    const json written =
        json::parse(format_config(engine_config(), ConfigFormat::sglang, {0, 0, 6, {}, ""}));
    CHECK(written.size() == 1);
    const json& rows = written["physical_to_logical_map"];
    REQUIRE(rows.size() == 6);
    for (const std::size_t dense : {0U, 3U, 5U})
        CHECK(rows[dense] == json({0, 1, 2, 3, 4, 5, 0, 1}));
}

TEST_CASE("engines have nothing against a good config") {
    for (const auto& [file, format] : kFiles) {
        const Engine* const engine = engine_of(format);
        if (engine == nullptr)
            continue;
        CAPTURE(file);
        const ConfigVerdict verdict =
            check_config(fixture(file), "f", *engine, kModel, kEpSize, "main");
        CHECK(verdict.errors.empty());
        // two slots per device
        CHECK(verdict.warnings.size() == (format == ConfigFormat::vllm_ascend ? 1 : 0));
    }
}

TEST_CASE("an expert twice on a rank stops vllm-ascend and warns elsewhere") {
    EplbConfig twice = kPlacement;
    twice.initial_global_assignments[2] = {5, 4, 3, 2, 1, 0, 3, 3};
    const std::string says =
        "f: in 1 of 3 layers an expert stands twice on a rank (layer 2, rank 3: "
        "expert 3)";
    for (const Engine* const engine : engines()) {
        if (!engine->config_format)
            continue;
        CAPTURE(engine->name);
        const ConfigVerdict verdict = verdict_on(twice, *engine, kModel);
        const bool refused = engine == &vllm_ascend_engine;
        CHECK(verdict.errors.size() == (refused ? 1 : 0));
        const std::vector<std::string>& found = refused ? verdict.errors : verdict.warnings;
        REQUIRE(found.size() == 1);
        CHECK_STARTS_WITH(found[0], says);
    }
}

TEST_CASE("TensorRT-LLM dies of a layer without entry") {
    EplbConfig partial = kPlacement;
    partial.initial_global_assignments.erase(2);
    ConfigVerdict verdict = verdict_on(partial, trtllm_engine, kModel);
    REQUIRE(verdict.errors.size() == 1);
    CHECK(has(verdict.errors[0], "no entry for layer 2 of the model"));
    // without assignments the engine takes its default
    CHECK(verdict_on({8, 0, {}}, trtllm_engine, kModel).errors.empty());

    ModelShape with_mtp = kModel;
    with_mtp.num_mtp_layers = 2;
    verdict = verdict_on(kPlacement, trtllm_engine, with_mtp);
    CHECK(verdict.errors.empty());
    REQUIRE(verdict.warnings.size() == 1);
    CHECK(has(verdict.warnings[0], "no entry for layers 5, 6, of multi-token prediction"));

    EplbConfig more = kPlacement;
    more.initial_global_assignments[5] = more.initial_global_assignments[4];
    more.initial_global_assignments[3] = more.initial_global_assignments[4];
    verdict = verdict_on(more, trtllm_engine, kModel);
    CHECK(verdict.errors.empty());
    REQUIRE(verdict.warnings.size() == 1);
    CHECK(has(verdict.warnings[0], "an entry for layers 3, 5, no MoE layer of the model"));
    more.initial_global_assignments.erase(3);
    with_mtp.num_mtp_layers = 1;
    CHECK(verdict_on(more, trtllm_engine, with_mtp).warnings.empty());
}

TEST_CASE("TensorRT-LLM's verdict counts ranks and experts") {
    const std::string text = fixture("trtllm.yaml");
    const auto errors = [&](const ModelShape& model, int ep_size) {
        return check_config(text, "f", trtllm_engine, model, ep_size).errors;
    };
    CHECK(has(errors(kModel, 3).at(0), "num_slots 8 is no multiple of ep_size 3"));
    CHECK(has(errors(kModel, 1).at(0), "more than one rank"));
    ModelShape other = kModel;
    other.num_experts = 7;
    CHECK(has(errors(other, 4).at(0), "expert 6 has no slot"));
    other.num_experts = 5;
    CHECK(has(errors(other, 4).at(0), "outside [0, 5)"));
}

TEST_CASE("vLLM loads no config") {
    CHECK(check_config(fixture("plain.json"), "f", vllm_engine, kModel, kEpSize).errors ==
          std::vector<std::string>{"f: vLLM loads no config"});
}

TEST_CASE("a format that another looks like is not told by the content alone") {
    const auto told = [](const char* file) { return told_format(fixture(file), "f", context()); };
    CHECK(told("trtllm.yaml") == ConfigFormat::trtllm);
    CHECK(told("vllm_ascend.json") == ConfigFormat::vllm_ascend);
    CHECK(told("plain.json") == ConfigFormat::plain);
    CHECK_FALSE(told("sglang.json"));
    CHECK_FALSE(told("hygon_legacy.json"));
    CHECK_FALSE(told_format("{}", "f", {}));
}

TEST_CASE("vllm-ascend is advised against with few experts on a device") {
    for (const int slots_per_rank : {8, 9}) {
        EngineConfig config;
        config.num_experts = 9;
        config.ep_size = 2;
        config.config.num_slots = 2 * slots_per_rank;
        for (int slot = 0; slot < 2 * slots_per_rank; ++slot)
            config.config.initial_global_assignments[0].push_back(slot % 9);
        const ConfigVerdict verdict = check_config(format_config(config, ConfigFormat::vllm_ascend),
                                                   "f", vllm_ascend_engine, {9, 1, {0}, 1, 0}, 2);
        CHECK(verdict.errors.empty());
        CHECK(verdict.warnings.size() == (slots_per_rank == 8 ? 1 : 0));
    }
}

}  // namespace eplb::test_engine_configs
