#include "tools/report_page.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/report/html/page.h"
#include "lib/report/text/short_names.h"
#include "lib/report/views/comparison.h"
#include "lib/report/views/views.h"
#include "tools/version.h"

namespace eplb {
namespace {

constexpr int kMostTabulated = 4;  // subjects, as many as the page has bars of

class Page {
  public:
    Page(const ViewInput& input, const ViewResult& result)
        : input_(input), view_(view_of(input.options)) {
        page_.title = "How evenly experts load their ranks";
        page_.version = EPLB_VERSION;
        page_.subjects = input.all_measured();
        page_.is_table_first = input.options.view != nullptr;
        page_.tables.push_back(result.table);
        if (view_.is_of_one_subject)
            page_.tables.back().title = title_of(result.table, input.subject());
        add_headline(result);
        add_tables_of_subjects();
    }

    const ReportPage& page() const { return page_; }

  private:
    int num_subjects() const { return static_cast<int>(page_.subjects.size()); }

    // "2" where there are several subjects; empty where this one has no picture.
    std::string number_of(const Subject& subject) const {
        for (int i = 0; i < num_subjects() && num_subjects() > 1; ++i)
            if (page_.subjects[i]->subject == &subject)
                return std::to_string(i + 1);
        return "";
    }

    // "Load statistics, 2: before under eplb.yaml" where there are several subjects.
    std::string title_of(const Table& table, const Subject& subject) const {
        std::string title = table.title;
        if (!title.empty() && title.back() == ':')
            title.pop_back();
        const std::string number = number_of(subject);
        if (number.empty())
            return title;
        std::vector<std::string> names;
        for (const MeasuredSubject* const one : page_.subjects)
            names.push_back(one->subject->name);
        return title + ", " + number + ": " + short_names(names)[std::stoi(number) - 1];
    }

    // False where the table has no verdict.
    bool take_verdicts(const Table& table, const std::string& number) {
        for (const Note& note : table.notes)
            if (note.kind == Note::Kind::verdict)
                page_.headline.push_back((number.empty() ? "" : number + ": ") +
                                         (note.headline.empty() ? note.text : note.headline));
        return !page_.headline.empty();
    }

    void take_notes(const Table& table) {
        for (const Note& note : table.notes)
            if (note.kind == Note::Kind::scope)
                page_.notes.push_back(note.text);
    }

    // The notes of the view's own table; where that comes first, they are not said twice.
    void take_notes_of_view() {
        Table& table = page_.tables.front();
        take_notes(table);
        if (page_.is_table_first)
            std::erase_if(table.notes,
                          [](const Note& note) { return note.kind == Note::Kind::scope; });
    }

    void add_headline(const ViewResult& result) {
        const bool is_of_layers = view_.name == "layers";
        // the layers of one of several subjects say less than the comparison
        if (!(is_of_layers && num_subjects() > 1) &&
            take_verdicts(result.table,
                          view_.is_of_one_subject ? number_of(input_.subject()) : "")) {
            take_notes_of_view();
            if (result.tested)
                page_.notes.emplace_back(
                    input_.options.config_paths.empty()
                        ? "The pictures are of what was recorded, not of the placement that was "
                          "fitted."
                        : "The pictures are of all iterations, those that were fitted to among "
                          "them.");
        }
        if (view_.name != "comparison" && num_subjects() > 1)
            add_comparison();
        if (page_.headline.empty())
            add_headline_of_layers(is_of_layers);
    }

    void add_comparison() {
        Table comparison =
            comparison_table(page_.subjects, pairing_of(input_.inputs), input_.all_timed());
        if (page_.headline.empty()) {
            take_verdicts(comparison, "");
            take_notes(comparison);
        }
        page_.tables.push_back(std::move(comparison));
    }

    // Of the only subject. Where there is nothing to balance, what the layers cover stands in for
    // the verdict.
    void add_headline_of_layers(bool is_view) {
        std::optional<TimedSubject> timed;
        if (input_.gpu != nullptr)
            timed = input_.timed(*page_.subjects.front()->subject);
        const Table layers = layer_table(*page_.subjects.front(), input_.measurements.threads(),
                                         timed ? &*timed : nullptr);
        if (!take_verdicts(layers, ""))
            page_.headline.push_back(layers.notes.back().text);
        if (!is_view)
            take_notes_of_view();
    }

    void add_tables_of_subjects() {
        for (int i = 0; i < std::min(num_subjects(), kMostTabulated); ++i) {
            const MeasuredSubject& measured = *page_.subjects[i];
            const Subject& subject = *measured.subject;
            ThreadPool& threads = input_.measurements.threads();
            // whole, the view's own table is there already
            const bool is_there =
                view_.is_of_one_subject && input_.options.top == 0 && &subject == &input_.subject();
            const auto add = [&](const std::string& view, const auto& make) {
                if (is_there && view_.name == view)
                    return;
                Table table = make();
                table.title = title_of(table, subject);
                page_.tables.push_back(std::move(table));
            };
            add("layers", [&] { return layer_table(measured, threads); });
            add("percentiles", [&] { return percentile_table(measured); });
            add("ranks", [&] { return bin_table(subject, measured.bins, threads); });
        }
    }

    const ViewInput& input_;
    const ReportView& view_;
    ReportPage page_;
};

}  // namespace

std::string html_page(const ViewInput& input, const ViewResult& result) {
    return html_report(Page(input, result).page());
}

}  // namespace eplb
