#include "lib/formats/configs/eplb_config.h"

#include <algorithm>
#include <charconv>
#include <climits>
#include <optional>
#include <set>
#include <string_view>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/quoted_name.h"
#include "lib/formats/configs/yaml_document.h"

namespace eplb {
namespace {

[[noreturn]] void fail_at(const std::string& name,
                          const YAML::Node& node,
                          const std::string& what) {
    throw Error(yaml_place(name, node.Mark()) + what);
}

// Plain decimal digits as PyYAML writes them. Quoted, tagged, octal or exponent forms would mean
// something else to another parser.
bool parse_integer(const YAML::Node& node, int& number) {
    if (!node.IsScalar() || (node.Tag() != "?" && !node.Tag().empty()))
        return false;
    const std::string& text = node.Scalar();
    const std::string_view digits = std::string_view(text).substr(text.starts_with('-') ? 1 : 0);
    if (digits.empty() || (digits.size() > 1 && digits[0] == '0'))
        return false;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size();
}

int read_integer(const std::string& name,
                 const YAML::Node& node,
                 const std::string& what,
                 int minimum) {
    int number = 0;
    if (!parse_integer(node, number))
        fail_at(name, node, what + " must be an integer written in plain decimal digits");
    if (number < minimum)
        fail_at(name, node,
                what + " is " + std::to_string(number) + ", it must be at least " +
                    std::to_string(minimum));
    return number;
}

// More slots than any deployment has, few enough that products of sizes do not overflow.
constexpr int kMaxNumSlots = 1 << 20;

// A mapping's members under their keys' text, in the order of the text. A key that stands there
// twice is refused: yaml-cpp would take the first, PyYAML the last.
std::vector<std::pair<YAML::Node, YAML::Node>> members_of(const std::string& name,
                                                          const YAML::Node& mapping,
                                                          const std::string& what) {
    if (!mapping.IsMap())
        fail_at(name, mapping, what + " must be a mapping");
    std::vector<std::pair<YAML::Node, YAML::Node>> members;
    std::set<std::string> keys;
    for (const auto& member : mapping) {
        if (!member.first.IsScalar())
            fail_at(name, member.first, "the keys of " + what + " must be plain");
        if (!keys.insert(member.first.Scalar()).second)
            fail_at(name, member.first,
                    "key " + printable_name(member.first.Scalar()) + " stands there twice");
        members.emplace_back(member.first, member.second);
    }
    return members;
}

// yaml-cpp places an absent value at whatever follows, so the key must tell the line
void require_value(const std::string& name, const YAML::Node& key, const YAML::Node& value) {
    if (value.IsNull())
        fail_at(name, key, "key " + printable_name(key.Scalar()) + " has no value");
}

std::vector<int> read_assignment(const std::string& name,
                                 const YAML::Node& list,
                                 int layer,
                                 int num_slots) {
    const std::string layer_text = "layer " + std::to_string(layer) + ": ";
    if (!list.IsSequence())
        fail_at(name, list, layer_text + "must be a list of expert ids");
    std::vector<int> expert_ids;
    expert_ids.reserve(list.size());
    for (const YAML::Node& entry : list)
        expert_ids.push_back(read_integer(name, entry, layer_text + "an expert id", 0));
    if (expert_ids.size() != static_cast<std::size_t>(num_slots))
        fail_at(name, list,
                layer_text + std::to_string(expert_ids.size()) + " entries where num_slots is " +
                    std::to_string(num_slots));
    return expert_ids;
}

// A config in work, with the places of its lists for messages.
struct Document {
    const std::string& name;
    const EplbConfigExpectation& expectation;
    EplbConfig config;
    YAML::Node num_slots;
    std::map<int, YAML::Node> lists;  // by layer
};

void read_assignments(Document& document, const YAML::Node& assignments) {
    if (assignments.IsNull())
        return;
    const auto members = members_of(document.name, assignments, "initial_global_assignments");
    if (members.empty())
        fail_at(document.name, assignments,
                "initial_global_assignments is empty: the engine would find no layer in it; leave "
                "the key out to start from the engine's default");
    for (const auto& [key, list] : members) {
        require_value(document.name, key, list);
        const int layer = read_integer(document.name, key, "a layer id", 0);
        document.lists.emplace(layer, list);
        document.config.initial_global_assignments[layer] =
            read_assignment(document.name, list, layer, document.config.num_slots);
    }
}

void read_members(Document& document, const YAML::Node& root) {
    YAML::Node assignments;
    bool has_num_slots = false;
    for (const auto& [key, value] : members_of(document.name, root, "an EPLB config")) {
        const std::string& word = key.Scalar();
        if (word != "initial_global_assignments")
            require_value(document.name, key, value);
        if (word == "num_slots") {
            has_num_slots = true;
            document.num_slots.reset(value);
            document.config.num_slots = read_integer(document.name, value, word, 1);
            if (document.config.num_slots > kMaxNumSlots)
                fail_at(document.name, value, "num_slots " + value.Scalar() + " is absurd");
        } else if (word == "layer_updates_per_iter") {
            document.config.layer_updates_per_iter = read_integer(document.name, value, word, 0);
        } else if (word == "initial_global_assignments") {
            assignments.reset(value);
        } else {
            fail_at(document.name, key,
                    "unknown key " + printable_name(word) +
                        "; the engine accepts num_slots, layer_updates_per_iter and "
                        "initial_global_assignments alone");
        }
    }
    if (!has_num_slots)
        fail_at(document.name, root, "num_slots is missing");
    read_assignments(document, assignments);
}

// what is known about the experts: given, or the highest id that stands anywhere
int number_of_experts(const Document& document) {
    if (document.expectation.num_experts > 0)
        return document.expectation.num_experts;
    int highest = -1;
    for (const auto& [layer, expert_ids] : document.config.initial_global_assignments)
        highest = std::max(highest, *std::max_element(expert_ids.begin(), expert_ids.end()));
    return highest == INT_MAX ? INT_MAX : highest + 1;
}

void check_num_slots(const Document& document, int num_experts) {
    const int num_slots = document.config.num_slots;
    const int ep_size = document.expectation.ep_size;
    if (ep_size > 0 && num_slots % ep_size != 0)
        fail_at(document.name, document.num_slots,
                "num_slots " + std::to_string(num_slots) + " is no multiple of ep_size " +
                    std::to_string(ep_size));
    if (num_slots < num_experts)
        fail_at(document.name, document.num_slots,
                "num_slots " + std::to_string(num_slots) + " is less than num_experts " +
                    std::to_string(num_experts) + ": some expert would have no slot");
}

// every expert has a slot, every slot an expert
void check_assignment(const Document& document, int layer, int num_experts) {
    const std::string layer_text = "layer " + std::to_string(layer) + ": ";
    const YAML::Node& list = document.lists.at(layer);
    std::vector<bool> has_slot(num_experts);
    for (const int expert_id : document.config.initial_global_assignments.at(layer)) {
        if (expert_id >= num_experts)
            fail_at(document.name, list,
                    layer_text + "expert id " + std::to_string(expert_id) + " is outside [0, " +
                        std::to_string(num_experts) + "): the config is of another model");
        has_slot[expert_id] = true;
    }
    const auto missing = std::find(has_slot.begin(), has_slot.end(), false);
    if (missing != has_slot.end())
        fail_at(document.name, list,
                layer_text + "expert " + std::to_string(missing - has_slot.begin()) +
                    " has no slot; each of the " + std::to_string(num_experts) +
                    " experts needs one");
}

void check_config(const Document& document) {
    const int num_experts = number_of_experts(document);
    check_num_slots(document, num_experts);  // before anything of that size is made
    for (const auto& [layer, expert_ids] : document.config.initial_global_assignments)
        check_assignment(document, layer, num_experts);
}

EplbConfig read_config(const YAML::Node& root,
                       const std::string& name,
                       const EplbConfigExpectation& expectation) {
    Document document{name, expectation, {}, {}, {}};
    read_members(document, root);
    check_config(document);
    return std::move(document.config);
}

// The config that format_eplb_config() writes as `text`, a hundred times quicker than a yaml
// parser. Nothing where the text is spelled in another way or the config is wrong: that is left to
// the parser, which says where.
std::optional<EplbConfig> scan_config(const std::string& text,
                                      const std::string& name,
                                      const EplbConfigExpectation& expectation) {
    Document document{name, expectation, {}, {}, {}};
    EplbConfig& config = document.config;
    const char* next = text.data();
    const char* const end = next + text.size();
    const auto integer = [&](int& number) {
        next = std::find_if(next, end, [](char c) { return c >= '0' && c <= '9'; });
        next = std::from_chars(next, end, number).ptr;
    };
    const auto line_starts_with = [&](std::string_view word) {
        return std::string_view(next, static_cast<std::size_t>(end - next)).starts_with(word);
    };
    if (line_starts_with("initial_global_assignments:\n"))
        next = std::find(next, end, '\n') + 1;
    while (line_starts_with("  ")) {
        int layer = 0;
        integer(layer);
        std::vector<int>& expert_ids = config.initial_global_assignments[layer];
        while (next != end && *next != ']')
            integer(expert_ids.emplace_back());
        next = std::find(next, end, '\n');
        next += next == end ? 0 : 1;
        document.lists[layer];  // no node: it is for messages
    }
    integer(config.layer_updates_per_iter);
    integer(config.num_slots);
    // whatever was taken for a number above: only this very text is written so
    if (format_eplb_config(config) != text)
        return std::nullopt;
    for (const auto& [layer, expert_ids] : config.initial_global_assignments)
        if (static_cast<int>(expert_ids.size()) != config.num_slots)
            return std::nullopt;
    if (config.num_slots < 1 || config.num_slots > kMaxNumSlots)
        return std::nullopt;
    try {
        check_config(document);
    } catch (const Error&) {
        return std::nullopt;
    }
    return std::move(config);
}

EplbConfig read_load_balancer_file(const YAML::Node& path,
                                   const std::string& name,
                                   const EplbConfigExpectation& expectation) {
    try {
        return read_eplb_config(path.Scalar(), expectation);
    } catch (const Error& error) {
        fail_at(name, path, std::string("load_balancer: ") + error.what());
    }
}

void read_moe_config(MoeOptions& options,
                     const YAML::Node& moe_config,
                     const std::string& name,
                     const EplbConfigExpectation& expectation) {
    for (const auto& [key, value] : members_of(name, moe_config, "moe_config")) {
        if (value.IsNull())
            continue;
        if (key.Scalar() == "max_num_tokens")
            options.max_num_tokens = read_integer(name, value, "max_num_tokens", 1);
        if (key.Scalar() != "load_balancer")
            continue;
        options.has_load_balancer = true;
        if (value.IsMap())
            options.load_balancer = read_config(value, name, expectation);
        else if (value.IsScalar())
            options.load_balancer = read_load_balancer_file(value, name, expectation);
        else
            fail_at(name, value, "load_balancer must be the path of a yaml file or a mapping");
    }
}

}  // namespace

EplbConfig parse_eplb_config(const std::string& text,
                             const std::string& name,
                             const EplbConfigExpectation& expectation) {
    if (std::optional<EplbConfig> config = scan_config(text, name, expectation))
        return *std::move(config);
    return read_config(parse_yaml_document(text, name), name, expectation);
}

EplbConfig read_eplb_config(const std::string& path, const EplbConfigExpectation& expectation) {
    return parse_eplb_config(read_file(path), path, expectation);
}

std::string format_eplb_config(const EplbConfig& config) {
    std::string text;
    if (!config.initial_global_assignments.empty())
        text += "initial_global_assignments:\n";
    for (const auto& [layer, expert_ids] : config.initial_global_assignments) {
        text += "  " + std::to_string(layer) + ": [";
        for (std::size_t slot = 0; slot < expert_ids.size(); ++slot)
            text += (slot == 0 ? "" : ", ") + std::to_string(expert_ids[slot]);
        text += "]\n";
    }
    text += "layer_updates_per_iter: " + std::to_string(config.layer_updates_per_iter) + "\n";
    text += "num_slots: " + std::to_string(config.num_slots) + "\n";
    return text;
}

MoeOptions read_moe_options(const std::string& path, const EplbConfigExpectation& expectation) {
    MoeOptions options;
    const YAML::Node root = parse_yaml_document(read_file(path), path);
    for (const auto& [key, value] : members_of(path, root, "an options file"))
        if (key.Scalar() == "moe_config" && !value.IsNull())
            read_moe_config(options, value, path, expectation);
    return options;
}

}  // namespace eplb
