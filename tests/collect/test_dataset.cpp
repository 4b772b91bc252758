#include "lib/collect/dataset.h"
#include "tests/test_support.h"

namespace eplb::test_dataset {

using test::TemporaryFolder;

namespace {

std::vector<Request> read_requests(const std::string& content) {
    const TemporaryFolder folder;
    test::write_text(folder / "dataset.json", content);
    return read_dataset(folder / "dataset.json", 100);
}

std::vector<std::vector<std::int32_t>> read(const std::string& content) {
    std::vector<std::vector<std::int32_t>> prompts;
    for (const Request& request : read_requests(content))
        prompts.push_back(request.input_ids);
    return prompts;
}

std::string error_of(const std::string& content) {
    return test::error_of([&] { read(content); });
}

void check_error(const std::string& content, const std::string& line, const std::string& text) {
    const std::string error = error_of(content);
    INFO(error);
    CHECK(error.find("dataset.json: " + line) != std::string::npos);
    CHECK(error.find(text) != std::string::npos);
}

}  // namespace

TEST_CASE("lines as prepare_dataset.py writes them are read") {
    CHECK(read("{\"task_id\":0,\"input_ids\":[1,2,99],\"output_tokens\":128}\n"
               "{\"task_id\":1,\"logits\":[5],\"output_tokens\":1,\"turns\":[]}\n"
               "\n"
               "{\"input_ids\": []}") ==
          std::vector<std::vector<std::int32_t>>{{1, 2, 99}, {5}, {}});
}

TEST_CASE("recorded answers are read") {
    const std::vector<Request> requests = read_requests(
        "{\"input_ids\":[1,2],\"output_ids\":[3,4],\"output_tokens\":2}\n{\"input_ids\":[5]}\n");
    CHECK(requests[0].output_ids == std::vector<std::int32_t>{3, 4});
    CHECK(requests[1].output_ids.empty());
    check_error("{\"input_ids\":[1],\"output_ids\":[100]}\n", "line 1: ", "token id 100");
    check_error("{\"input_ids\":[1],\"output_ids\":3}\n", "line 1: ", "\"output_ids\" is no list");
}

TEST_CASE("what is wrong with a dataset is said with its line") {
    check_error("", "", "holds no request");
    check_error("{\"input_ids\":[1]}\n{\"input_ids\":[1,", "line 2: ", "is not JSON");
    check_error("[1,2]\n", "line 1: ", "no JSON object");
    check_error("{\"input_ids\":[1,100]}\n", "line 1: ", "token id 100 is outside");
    check_error("{\"input_ids\":[-1]}\n", "line 1: ", "token id -1 is outside");
    check_error("{\"input_ids\":[18446744073709551615]}\n", "line 1: ", "is outside");
    check_error("{\"input_ids\":[1.5]}\n", "line 1: ", "not a token id");
    check_error("{\"input_ids\":[" + std::string(300000, '[') + std::string(300000, ']') + "]}\n",
                "line 1: ", "not a token id");
    check_error("{\"input_ids\":7}\n", "line 1: ", "no list \"input_ids\"");
    check_error("{\"task_id\":0}\n", "line 1: ", "no list \"input_ids\"");
    check_error("{\"prompt\":\"hello\",\"output_tokens\":3}\n",
                "line 1: ", "scripts/tokenize_dataset.py MODEL_DIR prompts.jsonl > dataset.json");
    check_error("{\"metadata\":{},\"samples\":[]}\n", "line 1: ", "--stdout");
    CHECK(test::error_of([] { read_dataset("no/such/file", 10); }).find("no/such/file") == 0);
}

TEST_CASE("a dataset cut off at any byte is an error or ends at a whole line") {
    const std::string whole = "{\"input_ids\":[1,2]}\n{\"input_ids\":[3]}\n";
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const std::string error = error_of(whole.substr(0, size));
        const bool at_line_end = size == 19 || size == 20 || size == whole.size() - 1;
        INFO(size);
        CHECK(error.empty() == at_line_end);
    }
}

}  // namespace eplb::test_dataset
