#include "tools/report_page.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <utility>

#include "lib/report/html/page.h"
#include "lib/report/text/short_names.h"
#include "lib/report/views/comparison.h"
#include "lib/report/views/views.h"
#include "tools/report_pictures.h"
#include "tools/report_views.h"
#include "tools/version.h"

namespace eplb {
namespace {

constexpr std::size_t kMostTabulated = 4;  // subjects, as many as the page has bars of

using Notes = std::vector<std::string>;

// Notes without that of --top, which stands last.
Notes notes_of(const Table& table, const ReportOptions& options) {
    Notes notes = table.notes;
    const std::string cut = std::to_string(options.top) + " of ";
    if (options.top > 0 && !notes.empty() && notes.back().rfind(cut, 0) == 0)
        notes.pop_back();
    return notes;
}

// How many of its last notes are the view's verdict; 0 where it has none.
std::size_t num_verdicts(const ReportOptions& options,
                         const std::vector<ReportInput>& inputs,
                         std::size_t num_subjects) {
    switch (view_of(options)) {
        case View::comparison:  // and of several the best
            return num_subjects - 1 + (num_subjects > 2 ? 1 : 0);
        case View::drift:  // and what it costs under a config
            return inputs.front().projected.empty() ? 1 : 2;
        case View::worth:  // and in tokens per second
            return options.tokens_per_second_per_rank > 0 ? 2 : 1;
        case View::held_out:
        case View::faults:
            return 1;
        default:
            return 0;
    }
}

// "1 -> 2: average imbalance …", by the numbers of the page.
std::string numbered(const std::string& numbers, std::string sentence) {
    if (!sentence.empty())
        sentence.front() =
            static_cast<char>(std::tolower(static_cast<unsigned char>(sentence.front())));
    return numbers + ": " + sentence;
}

class Page {
  public:
    Page(const ReportOptions& options,
         const std::vector<ReportInput>& inputs,
         const Table& table,
         ThreadPool& threads)
        : options_(options), inputs_(inputs), threads_(threads), view_(view_of(options)) {
        page_.title = "How evenly experts load their ranks";
        page_.version = EPLB_VERSION;
        page_.bins = bins_of(options);
        page_.subjects = compared_subjects(inputs);
        page_.is_table_first = options.view.has_value();
        page_.tables.push_back(table);
        if (is_of_one_subject())
            page_.tables.back().title = title_of(table, only_subject(inputs));
        add_headline(table);
        add_tables_of_subjects();
    }

    const ReportPage& page() const { return page_; }

  private:
    bool is_of_one_subject() const {
        constexpr std::array kOfOne = {View::layers,      View::ranks,   View::experts,
                                       View::iterations,  View::traffic, View::rank_traffic,
                                       View::percentiles, View::faults};
        return std::find(kOfOne.begin(), kOfOne.end(), view_) != kOfOne.end();
    }

    // "2"; empty where the subject has no picture
    std::string number_of(const Subject& subject) const {
        const auto found = std::find(page_.subjects.begin(), page_.subjects.end(), &subject);
        return found == page_.subjects.end() ? ""
                                             : std::to_string(found - page_.subjects.begin() + 1);
    }

    // "Load statistics, 2: before under eplb.yaml" where there are several subjects.
    std::string title_of(const Table& table, const Subject& subject) const {
        std::string title = table.title;
        if (!title.empty() && title.back() == ':')
            title.pop_back();
        const std::string number = number_of(subject);
        if (page_.subjects.size() < 2 || number.empty())
            return title;
        std::vector<std::string> names;
        for (const Subject* const one : page_.subjects)
            names.push_back(one->name);
        return title + ", " + number + ": " + short_names(names)[std::stoul(number) - 1];
    }

    // The last `num_verdicts` notes are the headline, the others follow it in small letters.
    void set_headline(const Notes& notes, std::size_t num_verdicts) {
        const auto verdicts = notes.end() - num_verdicts;
        for (auto note = verdicts; note != notes.end(); ++note)
            page_.headline.push_back(*note);
        page_.notes.assign(notes.begin(), verdicts);
    }

    void set_comparison(Notes notes) {
        const std::size_t num_subjects = page_.subjects.size();
        // first it says what the numbers stand for, as the page does anyway
        notes.erase(notes.begin(), notes.begin() + num_subjects);
        set_headline(notes, num_subjects - 1 + (num_subjects > 2 ? 1 : 0));
        if (num_subjects == 2)
            page_.headline.front() = numbered("1 -> 2", page_.headline.front());
    }

    void add_headline(const Table& table) {
        const Notes notes = notes_of(table, options_);
        const std::size_t num_subjects = page_.subjects.size();
        if (view_ == View::comparison) {
            set_comparison(notes);
        } else if (const std::size_t count = num_verdicts(options_, inputs_, num_subjects)) {
            set_headline(notes, count);
            if (view_ == View::worth && num_subjects > 1)
                page_.headline.front() =
                    numbered("1 -> " + std::to_string(num_subjects), page_.headline.front());
            if (view_ == View::faults && num_subjects > 1)
                page_.headline.front() =
                    number_of(only_subject(inputs_)) + ": " + page_.headline.front();
            if (view_ == View::held_out)
                page_.notes.emplace_back(
                    inputs_.front().projected.empty()
                        ? "The pictures are of what was recorded, not of the placement that was "
                          "fitted."
                        : "The pictures are of all iterations, those that were fitted to among "
                          "them.");
        }
        if (view_ != View::comparison && num_subjects > 1)
            add_comparison();
        if (page_.headline.empty())
            add_headline_of_layers(notes);
    }

    void add_comparison() {
        Table comparison = comparison_table(
            page_.subjects, page_.bins,
            inputs_.size() == 1 ? Pairing::paired : Pairing::independent, threads_);
        if (page_.headline.empty())
            set_comparison(comparison.notes);
        page_.tables.push_back(std::move(comparison));
    }

    void add_headline_of_layers(const Notes& notes) {
        if (view_ == View::layers) {
            set_headline(notes, 1);
            return;
        }
        const Table layers = layer_table(*page_.subjects.front(), page_.bins, threads_);
        set_headline(layers.notes, 1);
        page_.notes = notes;
    }

    void add_tables_of_subjects() {
        const std::size_t count = std::min(page_.subjects.size(), kMostTabulated);
        for (std::size_t i = 0; i < count; ++i) {
            const Subject& subject = *page_.subjects[i];
            // whole, the view's own table is there already
            const bool is_there =
                is_of_one_subject() && options_.top == 0 && &subject == &only_subject(inputs_);
            const auto add = [&](View view, Table one) {
                if (is_there && view_ == view)
                    return;
                one.title = title_of(one, subject);
                page_.tables.push_back(std::move(one));
            };
            add(View::layers, layer_table(subject, page_.bins, threads_));
            add(View::percentiles, percentile_table(subject, page_.bins, threads_));
            add(View::ranks, bin_table(subject, page_.bins, threads_));
        }
    }

    const ReportOptions& options_;
    const std::vector<ReportInput>& inputs_;
    ThreadPool& threads_;
    View view_;
    ReportPage page_;
};

}  // namespace

std::string html_page(const ReportOptions& options,
                      const std::vector<ReportInput>& inputs,
                      const Table& table,
                      ThreadPool& threads) {
    return html_report(Page(options, inputs, table, threads).page(), threads);
}

}  // namespace eplb
