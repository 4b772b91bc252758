#ifndef EPLB_TESTS_BENCH_PLACEMENT_TEXT_TABLE_H
#define EPLB_TESTS_BENCH_PLACEMENT_TEXT_TABLE_H

#include <string>
#include <vector>

namespace eplb::bench {

// Columns as wide as their widest cell; the first `num_names` to the left, the others to the right.
class TextTable {
  public:
    explicit TextTable(std::vector<std::string> header, std::size_t num_names = 1);

    void add(std::vector<std::string> row);
    void print() const;  // on stdout, indented, and an empty line

  private:
    std::size_t num_names_;
    std::vector<std::vector<std::string>> rows_;  // the header first
};

void print_title(const std::string& section, const std::string& title);
void print_text(const std::string& text);

// "-" where a value is not known.
std::string fixed(double value, int digits);
std::string imbalance_text(double imbalance);       // "0.1234"
std::string percent(double part, int digits);       // 0.1234: "12.3"
std::string change(double value, double baseline);  // "-12.3 %"
std::string met(bool is_met);

}  // namespace eplb::bench

#endif
