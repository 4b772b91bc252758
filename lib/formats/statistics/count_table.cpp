#include "lib/formats/statistics/count_table.h"

#include <algorithm>
#include <cassert>
#include <climits>
#include <functional>
#include <new>
#include <span>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/setting.h"

namespace eplb {
namespace {

// 32 GiB of counts: a thousand passes of 61 layers and 256 experts have 16 million of them.
constexpr std::int64_t kMaxNumCounts = std::int64_t{1} << 32;

// "0-2,5": the spelling that the options take
std::string list_text(const std::vector<int>& ids) {
    std::string text;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const std::size_t first = i;
        while (i + 1 < ids.size() && ids[i + 1] == ids[i] + 1)
            ++i;
        text += (text.empty() ? "" : ",") + std::to_string(ids[first]);
        if (i > first)
            text += "-" + std::to_string(ids[i]);
    }
    return text;
}

// "row 2", "rows 0 to 2", "rows 0-2,5"
std::string rows_text(const std::vector<int>& rows) {
    if (rows.size() == 1)
        return "row " + std::to_string(rows[0]);
    if (rows.back() - rows.front() + 1 == static_cast<int>(rows.size()))
        return "rows " + std::to_string(rows.front()) + " to " + std::to_string(rows.back());
    return "rows " + list_text(rows);
}

std::string no_tokens_text(const std::vector<int>& rows) {
    return rows_text(rows) + (rows.size() == 1 ? " holds" : " hold") + " no tokens";
}

std::vector<int> range(int first, int count) {
    std::vector<int> ids;
    ids.reserve(count);
    for (int i = 0; i < count; ++i)
        ids.push_back(first + i);
    return ids;
}

bool has_tokens(const CountTable& table, int row) {
    for (int iteration = 0; iteration < table.num_iterations; ++iteration)
        for (int source = 0; source < table.num_sources; ++source) {
            const std::span<const std::int64_t> counts = table.row(iteration, row, source);
            if (std::any_of(counts.begin(), counts.end(), [](std::int64_t n) { return n != 0; }))
                return true;
        }
    return false;
}

std::vector<int> rows_without_tokens(const CountTable& table) {
    std::vector<int> rows;
    for (int row = 0; row < table.num_layers(); ++row)
        if (!has_tokens(table, row))
            rows.push_back(row);
    return rows;
}

std::vector<int> all_but(const std::vector<int>& rows, int num_rows) {
    std::vector<int> others;
    for (int row = 0; row < num_rows; ++row)
        if (!std::binary_search(rows.begin(), rows.end(), row))
            others.push_back(row);
    return others;
}

// Numbers the rows of one table: which rows are MoE layers, and what ids these have.
class RowNumbering {
  public:
    RowNumbering(const CountTable& table, const LayerOptions& options, const std::string& name)
        : table_(table), options_(options), name_(name) {
        check_options();
        switch (table.layer_rows) {
            case LayerRows::by_id:
                number_by_id();
                break;
            case LayerRows::decoder_layers:
                number_decoder_layers();
                break;
            case LayerRows::moe_layers:
                number_moe_layers();
                break;
            case LayerRows::unstated:
                number_unstated();
                break;
        }
    }

    const std::vector<int>& rows() const { return rows_; }
    const std::vector<int>& layers() const { return layers_; }
    // Decoder layers of the model, where there is a row for each; else 0.
    int num_hidden_layers() const { return num_hidden_layers_; }

  private:
    [[noreturn]] void fail(const std::string& what) const { throw Error(name_ + ": " + what); }

    bool has_list() const { return !options_.moe_layers.empty(); }
    // Where one of the two is given.
    std::string given_setting() const {
        return has_list() ? setting("moe_layers") : setting("first_moe_layer");
    }
    int num_listed() const { return static_cast<int>(options_.moe_layers.size()); }
    std::string rows_it_has() const { return std::to_string(table_.num_layers()) + " rows"; }

    void check_options() const {
        const std::vector<int>& list = options_.moe_layers;
        if (options_.first_moe_layer && has_list())
            fail(setting("first_moe_layer") + " and " + setting("moe_layers") +
                 " say the same thing; give one of them");
        if (options_.first_moe_layer.value_or(0) < 0)
            fail(setting("first_moe_layer") + " " + std::to_string(*options_.first_moe_layer) +
                 " is no layer id; it must be 0 or more");
        if (has_list() &&
            (list.front() < 0 ||
             std::adjacent_find(list.begin(), list.end(), std::greater_equal<>()) != list.end()))
            fail(setting("moe_layers") + " must be ascending layer ids");
    }

    void number_by_id() {
        if (options_.first_moe_layer || has_list())
            fail("names its layers itself; leave out " + given_setting());
        rows_ = range(0, table_.num_layers());
        layers_ = table_.layers;
    }

    void number_decoder_layers() {
        if (options_.first_moe_layer) {
            const int first = *options_.first_moe_layer;
            if (first >= table_.num_layers())
                fail(setting("first_moe_layer") + " " + std::to_string(first) +
                     " is not among its " + rows_it_has() + ", the layers 0 to " +
                     std::to_string(table_.num_layers() - 1));
            rows_ = range(first, table_.num_layers() - first);
        } else if (has_list()) {
            if (options_.moe_layers.back() >= table_.num_layers())
                fail("layer " + std::to_string(options_.moe_layers.back()) + " of " +
                     setting("moe_layers") + " is not among its " + rows_it_has() +
                     ", the layers 0 to " + std::to_string(table_.num_layers() - 1));
            rows_ = options_.moe_layers;
        } else {
            check_all_have_tokens();
            rows_ = range(0, table_.num_layers());
        }
        check_others_are_empty();
        layers_ = rows_;
        num_hidden_layers_ = table_.num_layers();
    }

    // A row without tokens may be a dense layer or an idle one: only the model can tell.
    void check_all_have_tokens() const {
        const std::vector<int> empty = rows_without_tokens(table_);
        if (empty.empty())
            return;
        if (static_cast<int>(empty.size()) == table_.num_layers())
            fail("holds no tokens: nothing was recorded; record again");
        std::string choice =
            no_tokens_text(empty) + ": dense layers, or MoE layers that nothing was routed to? ";
        if (empty.back() + 1 == static_cast<int>(empty.size()))
            choice += "give " + setting("first_moe_layer") + " " + std::to_string(empty.size()) +
                      " (or " + setting("moe_layers") + " with the layers that have experts)";
        else
            choice += "give " + setting("moe_layers") + " " +
                      list_text(all_but(empty, table_.num_layers())) +
                      " (or another list of the layers that have experts)";
        fail(choice);
    }

    void check_others_are_empty() const {
        for (const int row : all_but(rows_, table_.num_layers()))
            if (has_tokens(table_, row))
                fail("row " + std::to_string(row) + " holds tokens, while " + given_setting() +
                     " says that layer " + std::to_string(row) +
                     " has no experts; name the layers of the model that "
                     "was recorded");
    }

    void number_moe_layers() {
        if (has_list()) {
            check_length_of_list();
            layers_ = options_.moe_layers;
        } else if (options_.first_moe_layer) {
            if (*options_.first_moe_layer > INT_MAX - table_.num_layers())
                fail(setting("first_moe_layer") + " " + std::to_string(*options_.first_moe_layer) +
                     " is absurd");
            layers_ = range(*options_.first_moe_layer, table_.num_layers());
        } else {
            fail("its " + rows_it_has() + " are the MoE layers in order, without their ids; give " +
                 setting("first_moe_layer") + " N (3 for DeepSeek-R1) or " + setting("moe_layers") +
                 " LIST");
        }
        rows_ = range(0, table_.num_layers());
    }

    void check_length_of_list() const {
        if (num_listed() != table_.num_layers())
            fail("has " + rows_it_has() + ", while " + setting("moe_layers") + " names " +
                 std::to_string(num_listed()) + " layers; name one for each row");
    }

    void number_unstated() {
        if (has_list() && num_listed() < table_.num_layers())
            number_decoder_layers();
        else if (has_list() || options_.first_moe_layer == 0)
            number_moe_layers();  // of layers from 0 on both readings are the same
        else
            fail_unstated();
    }

    [[noreturn]] void fail_unstated() const {
        if (options_.first_moe_layer)
            fail_unstated_from(*options_.first_moe_layer);
        const std::vector<int> empty = rows_without_tokens(table_);
        const bool is_telling =
            !empty.empty() && static_cast<int>(empty.size()) < table_.num_layers();
        constexpr int kExample = 3;  // as in DeepSeek-R1
        fail("does not say which layers its " + rows_it_has() + " are: either row i is layer i" +
             (is_telling
                  ? " (" + no_tokens_text(empty) + "), then give " + setting("moe_layers") + " " +
                        list_text(all_but(empty, table_.num_layers())) + " or whichever have"
                  : ", then give " + setting("first_moe_layer") + " 0 where all have") +
             " experts; or the rows are the MoE layers alone, then give " + setting("moe_layers") +
             " with " + std::to_string(table_.num_layers()) + " ids, like " +
             list_text(range(kExample, table_.num_layers())));
    }

    [[noreturn]] void fail_unstated_from(int first) const {
        const int num_rows = table_.num_layers();
        const bool can_be_decoder_layers = first < num_rows;
        const bool can_be_moe_layers = first <= INT_MAX - num_rows;
        fail(setting("first_moe_layer") + " does not say which layers its " + rows_it_has() +
             " are: either row i is layer i, then give " + setting("moe_layers") + " " +
             (can_be_decoder_layers ? list_text(range(first, num_rows - first)) : "LIST") +
             "; or the rows are the MoE layers alone, then give " + setting("moe_layers") + " " +
             (can_be_moe_layers ? list_text(range(first, num_rows)) : "LIST"));
    }

    const CountTable& table_;
    const LayerOptions& options_;
    const std::string& name_;
    std::vector<int> rows_;    // those that are MoE layers
    std::vector<int> layers_;  // their ids
    int num_hidden_layers_ = 0;
};

}  // namespace

void CountTable::number_rows(int num_rows) {
    layers = range(0, num_rows);
}

void CountTable::allocate(int num_rows, const std::string& name) {
    std::int64_t num_counts = 1;
    for (const int size : {num_iterations, num_rows, num_sources, num_experts}) {
        assert(size >= 0);
        if (size > 0 && num_counts > kMaxNumCounts / size)
            throw Error(name + ": " + std::to_string(num_iterations) + " iterations of " +
                        std::to_string(num_rows) + " layers, " + std::to_string(num_sources) +
                        " ranks and " + std::to_string(num_experts) +
                        " experts are more counts than any recording has");
        num_counts *= size;
    }
    try {
        if (layer_rows != LayerRows::by_id)
            number_rows(num_rows);
        counts.assign(num_counts, 0);
    } catch (const std::bad_alloc&) {
        throw Error(name + ": no memory for its " + std::to_string(num_counts) +
                    " counts; use a machine with more, or a shorter recording");
    }
}

ExpertStatistics number_layers(CountTable table,
                               const LayerOptions& options,
                               const std::string& name) {
    const RowNumbering numbering(table, options, name);
    if (numbering.rows().size() < table.layers.size()) {
        std::vector<std::int64_t> kept;
        kept.reserve(table.counts.size() / table.layers.size() * numbering.rows().size());
        for (int iteration = 0; iteration < table.num_iterations; ++iteration)
            for (const int row : numbering.rows())
                for (int source = 0; source < table.num_sources; ++source) {
                    const std::span<const std::int64_t> counts = table.row(iteration, row, source);
                    kept.insert(kept.end(), counts.begin(), counts.end());
                }
        table.counts = std::move(kept);
    }
    table.layers = numbering.layers();
    table.num_hidden_layers = numbering.num_hidden_layers();
    table.has_all_moe_layers = table.layer_rows != LayerRows::by_id;
    return std::move(static_cast<ExpertStatistics&>(table));
}

}  // namespace eplb
