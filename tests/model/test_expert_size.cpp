#include "lib/model/expert_size.h"
#include "tests/catch.h"
#include "tests/test_support.h"

namespace eplb::test_expert_size {

namespace {

class ConfigFile {
  public:
    explicit ConfigFile(const std::string& text) { test::write_text(path(), text); }
    std::string path() const { return (folder_ / "config.json").string(); }
    double bytes() const { return expert_bytes(ModelJson::read(path())); }
    std::string error() const {
        return test::error_of([&] { expert_bytes(ModelJson::read(path())); });
    }

  private:
    test::TemporaryFolder folder_;
};

}  // namespace

// three matrices of 64 x 32
TEST_CASE("an expert's bytes follow from the config's sizes and its type") {
    const std::string sizes = R"("hidden_size": 64, "moe_intermediate_size": 32)";
    const auto bytes = [&](const std::string& more) {
        return ConfigFile("{" + sizes + ", " + more + "}").bytes();
    };
    CHECK(bytes(R"("torch_dtype": "bfloat16")") == 12288);
    CHECK(bytes(R"("dtype": "float32")") == 24576);
    CHECK(bytes(R"("quantization_config": {"quant_method": "mxfp4"})") == 3264);
    // 6144 bytes and a float for each block of 4
    CHECK(bytes(R"("quantization_config": {"quant_method": "fp8", "weight_block_size": [2, 2]})") ==
          12288);
}

TEST_CASE("sizes that no model has are refused") {
    for (const char* const size : {"0", "-1", "\"64\"", "null", "1e308", "1e999", "2147483648"}) {
        CAPTURE(size);
        const ConfigFile config(
            R"({"moe_intermediate_size": 1, "dtype": "float32", "hidden_size": )" +
            std::string(size) + "}");
        CHECK_STARTS_WITH(config.error(), config.path() + ": ");
    }
}

TEST_CASE("blocks that hold no weight leave the size finite") {
    for (const char* const block : {"[0, 0]", "[1e-300, 1]", "[-2, 2]"}) {
        CAPTURE(block);
        CHECK(ConfigFile(R"({"hidden_size": 64, "moe_intermediate_size": 32,
                             "quantization_config": {"quant_method": "fp8", "weight_block_size": )" +
                         std::string(block) + "}}")
                  .bytes() == 6144);
    }
}

}  // namespace eplb::test_expert_size
