#ifndef EPLB_TOOLS_TERMINAL_H
#define EPLB_TOOLS_TERMINAL_H

#include <string>

namespace eplb::cli {

// What standard output, or a file in its place, can show.
struct Screen {
    int width = 80;        // characters: of the window, else $COLUMNS
    bool unicode = false;  // the locale's characters are UTF-8
    bool colour = false;   // a terminal, which $NO_COLOR and TERM=dumb do not speak against
};
Screen screen_of_output(const std::string& output_path);  // "-": standard output

// A line on stderr that is written over again; nothing where stderr is no terminal, or one that
// cannot move its cursor.
class ProgressLine {
  public:
    explicit ProgressLine(bool wanted = true);
    ~ProgressLine() { clear(); }
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;

    bool is_shown() const { return on_terminal_; }
    void show(const std::string& text);
    void clear();

  private:
    bool on_terminal_;
    bool has_text_ = false;
};

}  // namespace eplb::cli

#endif
