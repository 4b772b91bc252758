#include <map>
#include <utility>

#include "lib/report/html/parts.h"
#include "lib/report/text/picture_text.h"

namespace eplb::html {
namespace {

std::string split_text(const Subject& subject) {
    if (subject.split == ReplicaSplit::recorded)
        return subject.ids == IdKind::slot ? "recorded per slot" : "";
    return split_note(subject);
}

// How replicas shared tokens, once for all subjects in which it was the same: "2, 3: ...".
std::string split_lines(const std::vector<Drawn>& subjects) {
    std::vector<std::string> order;
    std::map<std::string, std::string> numbers;
    for (const Drawn& drawn : subjects) {
        const std::string split = split_text(drawn.subject());
        if (split.empty())
            continue;
        std::string& of_split = numbers[split];
        if (of_split.empty())
            order.push_back(split);
        of_split += (of_split.empty() ? "" : ", ") + drawn.number;
    }
    std::string text;
    for (const std::string& split : order)
        append(text, "<p class=\"small\">", numbers[split], ": ", escape(split), ".</p>\n");
    return text;
}

std::string known(int number, bool is_known) {
    return is_known ? std::to_string(number) : "unknown";
}

std::string subject_row(const Drawn& drawn) {
    const Subject& subject = drawn.subject();
    const std::vector<std::pair<std::string, std::string>> cells = {
        {"iterations",
         std::to_string(subject.iter_start) + "-" + std::to_string(subject.iter_stop())},
        {"layers", ranges_text(subject.layers)},
        {"ranks", std::to_string(subject.ep_size)},
        {"experts", known(subject.num_experts, subject.knows_experts())},
        {"slots", std::to_string(subject.num_slots())},
        {"top_k", known(subject.top_k, subject.top_k > 0)},
    };
    std::string text;
    append(text, "<tr><th scope=\"row\" class=\"t name\">", label(drawn), "</th>");
    // narrow screens show the labels beside the numbers
    for (const auto& [label, cell] : cells)
        append(text, "<td data-label=\"", label, "\">", cell, "</td>");
    return text + "</tr>\n";
}

std::string card(const std::string& label, const std::string& value, const std::string& below) {
    std::string text;
    append(text, "<div class=\"card\"><div class=\"label\">", label, "</div><div class=\"value\">",
           value, "</div><div class=\"small\">", below, "</div></div>\n");
    return text;
}

// "1.51 → 0.126" of two; of more a line each, with its number.
template <typename TextOf>
std::string of_each(const std::vector<Drawn>& subjects, const TextOf& text_of) {
    std::string text;
    for (const Drawn& drawn : subjects)
        if (subjects.size() > 2)
            append(text, "<span class=\"each\"><b class=\"number\">", drawn.number, "</b> ",
                   text_of(drawn), "</span> ");
        else
            append(text, text.empty() ? "" : " → ", text_of(drawn));
    return text;
}

std::string worst_value(const Drawn& drawn) {
    const MeasuredLayer* const worst = drawn.measured->worst();
    return worst == nullptr ? "none" : short_number(worst->summary.imbalance_ratio);
}

std::string worst_layer(const Drawn& drawn) {
    const MeasuredLayer* const worst = drawn.measured->worst();
    return worst == nullptr ? "no tokens" : "layer " + std::to_string(worst->layer);
}

// Shows the worst layer of each subject, which need not be the same one.
std::string worst_card(const std::vector<Drawn>& subjects) {
    const auto with_layer = [](const Drawn& drawn) {
        return worst_value(drawn) + " <span class=\"small\">" + worst_layer(drawn) + "</span>";
    };
    if (subjects.size() > 2)
        return card("Worst layer", of_each(subjects, with_layer), "");
    std::string below = worst_layer(subjects.front());
    if (subjects.size() == 2 && worst_layer(subjects.back()) == below)
        below += " before and after";
    else if (subjects.size() == 2)
        below += " before, " + worst_layer(subjects.back()) + " after";
    return card("Worst layer", of_each(subjects, worst_value), below);
}

}  // namespace

std::string header(const ReportPage& page, const std::vector<Drawn>& subjects) {
    std::string text;
    append(text, "<header><h1>", escape(page.title), "</h1>\n");
    for (const std::string& sentence : page.headline)
        append(text, "<p class=\"verdict\">", prose(sentence), "</p>\n");
    for (const std::string& note : page.notes)
        append(text, "<p class=\"small\">", prose(note), "</p>\n");
    text +=
        "<div class=\"sheet\"><table class=\"subjects\"><thead><tr><th scope=\"col\" "
        "class=\"t\">measured</th><th scope=\"col\">iterations</th><th scope=\"col\">layers</th>"
        "<th scope=\"col\">ranks</th><th scope=\"col\">experts</th><th scope=\"col\">slots</th>"
        "<th scope=\"col\">top_k</th></tr></thead><tbody>\n";
    for (const Drawn& drawn : subjects)
        text += subject_row(drawn);
    append(text, "</tbody></table></div>\n", split_lines(subjects), "</header>\n");
    return text;
}

std::string whole_names(const std::vector<Drawn>& subjects) {
    std::string text;
    for (const Drawn& drawn : subjects)
        if (drawn.short_name != drawn.subject().name)
            append(text, "<p>", drawn.number, ": ", escape(drawn.subject().name), "</p>\n");
    return text;
}

std::string summary_cards(const std::vector<Drawn>& subjects) {
    const std::string bins = subjects.front().measured->bin_name() + "s";
    std::string text = "<div class=\"cards\">\n";
    text += card("Average imbalance ratio",
                 of_each(subjects,
                         [](const Drawn& drawn) {
                             return short_number(drawn.measured->average.imbalance_ratio);
                         }),
                 "(max − mean) / mean over " + bins + "; best 0");
    text += worst_card(subjects);
    text += card("Balancedness",
                 of_each(subjects,
                         [](const Drawn& drawn) {
                             return short_number(drawn.measured->average.balancedness);
                         }),
                 "mean / max over " + bins + "; best 1");
    if (subjects.size() == 2) {
        const double before = subjects.front().measured->average.imbalance_ratio;
        const double after = subjects.back().measured->average.imbalance_ratio;
        text += card("Tokens of the fullest " + subjects.front().measured->bin_name(),
                     short_number((1 + after) / (1 + before)) + "x",
                     "(1 + imbalance after) / (1 + before), at equally many tokens; below 1 is "
                     "better");
    }
    return text + "</div>\n";
}

}  // namespace eplb::html
