#ifndef EPLB_BASE_CONFIG_FIELDS_H
#define EPLB_BASE_CONFIG_FIELDS_H

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace eplb {

// The fields of a config.json object; errors name the file and the field. null counts as absent.
class ConfigFields {
  public:
    // `where` starts every error: "DIR/config.json: ".
    ConfigFields(const nlohmann::json& object, std::string where)
        : object_(object), where_(std::move(where)) {}

    bool has(const char* field) const;
    [[noreturn]] void fail(const char* field, const std::string& what) const;

    // An integer from 1, or 0, to what no model comes near: products of two fit into 64 bits.
    static constexpr int kMostOfAnything = 1 << 22;
    int size(const char* field, int most = kMostOfAnything) const;
    int size_or(const char* field, int otherwise) const;
    int index(const char* field) const;
    int index_or(const char* field, int otherwise) const;
    double real(const char* field) const;  // finite
    double real_or(const char* field, double otherwise) const;
    double positive_real(const char* field) const;
    bool flag(const char* field) const;
    bool flag_or(const char* field, bool otherwise) const;
    std::string text_or(const char* field, const std::string& otherwise) const;

    // The object or list behind a field, null if there is none.
    const nlohmann::json* find(const char* field) const;

    const nlohmann::json& object() const { return object_; }
    const std::string& where() const { return where_; }

  private:
    int integer(const char* field, int least, int most) const;

    const nlohmann::json& object_;
    std::string where_;
};

}  // namespace eplb

#endif
