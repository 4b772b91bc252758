#ifndef EPLB_FORMATS_STATISTICS_JSON_COUNTS_H
#define EPLB_FORMATS_STATISTICS_JSON_COUNTS_H

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

// One table of counts out of a JSON document, read without building a tree: files may have hundreds
// of megabytes.
namespace eplb {

// Where the counts stand in the document's object:
//
//   {"COUNTS_KEY": [[…]]}                       without an entries_key
//   {"ENTRIES_KEY": [{"COUNTS_KEY": [[…]]}, …]}  with one: each entry has counts of the same shape
//
// Other keys are ignored.
struct JsonCountsPlace {
    std::string counts_key;
    std::string entries_key;
    std::vector<std::string> integer_keys;  // of the document's object; they may be absent
    std::vector<std::string> text_keys;     // as well
};

struct JsonCounts {
    std::vector<int> shape;  // of the lists, outermost first, entries included; each at least 1
    std::vector<std::int64_t> counts;              // [shape…], each in [0, kMaxCount]
    std::map<std::string, std::int64_t> integers;  // those of integer_keys that are there
    std::map<std::string, std::string> texts;      // of text_keys; empty where it is no string
};

// Counts are integers, or floats of integer value as PyTorch's tolist() gives them. Errors start
// with `name` and say where: the byte in what is no JSON, else a place like "logical_count"[3][17].
// Refused are lists that differ in length or depth, empty lists, what is no count, and keys that
// stand twice in an object that is read.
JsonCounts parse_json_counts(std::string_view text,
                             const JsonCountsPlace& place,
                             const std::string& name);

}  // namespace eplb

#endif
