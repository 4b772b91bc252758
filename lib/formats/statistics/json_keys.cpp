#include "lib/formats/statistics/json_keys.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

namespace eplb {
namespace {

using nlohmann::json;

// Ends the parsing at the first key looked for.
class KeyFinder : public nlohmann::json_sax<json> {
  public:
    explicit KeyFinder(const std::vector<std::string>& keys) : keys_(keys) {}

    std::optional<std::size_t> found;

    bool key(std::string& name) override {
        const auto position = std::find(keys_.begin(), keys_.end(), name);
        if (depth_ != 1 || position == keys_.end())
            return true;
        found = static_cast<std::size_t>(position - keys_.begin());
        return false;
    }
    bool start_object(std::size_t) override { return enter(); }
    bool end_object() override { return leave(); }
    bool start_array(std::size_t) override { return enter(); }
    bool end_array() override { return leave(); }

    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t&) override { return true; }
    bool binary(binary_t&) override { return true; }
    bool parse_error(std::size_t, const std::string&, const json::exception&) override {
        return false;
    }

  private:
    bool enter() {
        ++depth_;
        return true;
    }
    bool leave() {
        --depth_;
        return depth_ > 0;  // what follows the outermost object is another line's
    }

    const std::vector<std::string>& keys_;
    int depth_ = 0;
};

}  // namespace

std::optional<std::size_t> find_json_key(const std::string& path,
                                         const std::vector<std::string>& keys) {
    std::ifstream file(path, std::ios::binary);
    KeyFinder finder(keys);
    json::sax_parse(file, &finder);
    return finder.found;
}

}  // namespace eplb
