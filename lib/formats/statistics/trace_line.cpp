#include "lib/formats/statistics/trace_line.h"

#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/quoted_name.h"

namespace eplb {
namespace {

using nlohmann::json;

constexpr int kMaxIgnoredDepth = 100;

class TraceHandler : public nlohmann::json_sax<json> {
  public:
    TraceHandler(TraceLine& line, const std::string& where) : line_(line), where_(where) {}

    bool start_object(std::size_t) override {
        if (!is_in_object_)
            is_in_object_ = true;
        else if (member_ == Member::ignored)
            nest();
        else
            refuse("an object");
        return true;
    }

    bool key(string_t& key) override {
        if (depth_ == 0)
            start_member(key);
        return true;
    }

    bool end_object() override {
        if (depth_ > 0)
            --depth_;
        return true;
    }

    bool start_array(std::size_t) override {
        check_in_object();
        const bool is_list = member_ == Member::layers_logged || member_ == Member::topk_ids ||
                             member_ == Member::topk_weights;
        if (member_ != Member::ignored && (!is_list || depth_ > 0))
            refuse("a list");
        nest();
        if (member_ == Member::layers_logged)
            line_.layers_logged.emplace();
        else if (member_ == Member::topk_ids)
            line_.topk_ids.emplace();
        else if (member_ == Member::topk_weights)
            line_.num_topk_weights = 0;
        return true;
    }

    bool end_array() override {
        --depth_;
        return true;
    }

    bool number_unsigned(number_unsigned_t number) override {
        if (member_ != Member::ignored && number > static_cast<number_unsigned_t>(INT64_MAX))
            refuse("a number that is too large");
        return number_integer(static_cast<number_integer_t>(number));
    }

    bool number_integer(number_integer_t number) override {
        check_in_object();
        const bool is_in_list = depth_ > 0;
        if (member_ == Member::topk_weights && is_in_list)
            ++*line_.num_topk_weights;
        else if (member_ == Member::layers_logged && is_in_list)
            line_.layers_logged->push_back(number);
        else if (member_ == Member::topk_ids && is_in_list)
            line_.topk_ids->push_back(number);
        else if (member_ == Member::token_idx)
            line_.token_idx = number;
        else if (member_ == Member::layer)
            line_.layer = number;
        else if (member_ == Member::top_k)
            line_.top_k = number;
        else if (member_ == Member::req_id)
            line_.req_id = std::to_string(number);
        else if (member_ != Member::ignored)
            refuse("a number");
        return true;
    }

    bool number_float(number_float_t, const string_t&) override {
        if (member_ == Member::topk_weights)
            return number_integer(0);
        return take_other("a number that is no integer");
    }

    bool string(string_t& text) override {
        if (member_ == Member::type)
            line_.type = text;
        else if (member_ == Member::req_id)
            line_.req_id = '"' + text + '"';
        else
            return take_other("a string");
        return true;
    }

    bool null() override { return take_other("null"); }
    bool boolean(bool) override { return take_other("a boolean"); }
    bool binary(binary_t&) override { return take_other("binary data"); }

    bool parse_error(std::size_t position,
                     const std::string&,
                     const nlohmann::detail::exception&) override {
        fail("is no valid JSON at byte " + std::to_string(position));
    }

  private:
    // what the next event belongs to
    enum class Member {
        ignored,
        type,
        req_id,
        token_idx,
        layer,
        top_k,
        layers_logged,
        topk_ids,
        topk_weights,
    };

    [[noreturn]] void fail(const std::string& what) const { throw Error(where_ + what); }

    void check_in_object() const {
        if (!is_in_object_)
            fail("is no JSON object");
    }

    [[noreturn]] void refuse(const char* found) const {
        check_in_object();
        fail('"' + key_ + "\" holds " + found);
    }

    void start_member(const std::string& key) {
        key_ = key;
        member_ = Member::ignored;
        start_if(key == "type", Member::type, line_.type.has_value());
        start_if(key == "req_id", Member::req_id, line_.req_id.has_value());
        start_if(key == "token_idx", Member::token_idx, line_.token_idx.has_value());
        start_if(key == "layer", Member::layer, line_.layer.has_value());
        start_if(key == "top_k", Member::top_k, line_.top_k.has_value());
        start_if(key == "layers_logged", Member::layers_logged, line_.layers_logged.has_value());
        start_if(key == "topk_ids", Member::topk_ids, line_.topk_ids.has_value());
        start_if(key == "topk_weights", Member::topk_weights, line_.num_topk_weights.has_value());
    }

    void start_if(bool is_this, Member member, bool is_there) {
        if (!is_this)
            return;
        if (is_there)
            fail("\"" + key_ + "\" stands there twice");
        member_ = member;
    }

    void nest() {
        if (++depth_ > kMaxIgnoredDepth)
            fail(quoted_name(key_) + " is nested too deep");
    }

    bool take_other(const char* kind) {
        if (!is_in_object_ || member_ != Member::ignored)
            refuse(kind);
        return true;
    }

    TraceLine& line_;
    const std::string& where_;
    std::string key_;
    Member member_ = Member::ignored;
    bool is_in_object_ = false;
    int depth_ = 0;  // lists and objects inside the member that are open
};

}  // namespace

TraceLine parse_trace_line(std::string_view text, const std::string& where) {
    TraceLine line;
    TraceHandler handler(line, where);
    json::sax_parse(text.begin(), text.end(), &handler);
    return line;
}

}  // namespace eplb
