#ifndef EPLB_TOOLS_OUTPUT_H
#define EPLB_TOOLS_OUTPUT_H

#include <string>
#include <utility>

namespace eplb::cli {

// What a tool says on stderr, under its name, besides what it writes.
class Output {
  public:
    explicit Output(std::string name) : name_(std::move(name)) {}

    // One that says nothing: another process or thread speaks for this one.
    Output quiet() const;
    bool is_quiet() const { return is_quiet_; }

    void note(const std::string& text) const;  // "NAME: …"
    void warn(const std::string& text) const;  // "NAME: warning: …"

  private:
    std::string name_;
    bool is_quiet_ = false;
};

}  // namespace eplb::cli

#endif
