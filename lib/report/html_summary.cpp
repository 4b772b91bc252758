#include <utility>

#include "lib/report/html_parts.h"
#include "lib/report/picture_text.h"

namespace eplb::html {
namespace {

std::string split_text(const Subject& subject) {
    if (subject.split == ReplicaSplit::recorded)
        return subject.ids == IdKind::slot ? "recorded per slot" : "as recorded";
    return escape(split_note(subject));
}

std::string subject_row(const Drawn& drawn) {
    const Subject& subject = *drawn.subject;
    const std::vector<std::pair<std::string, std::string>> cells = {
        {"iterations",
         std::to_string(subject.iter_start) + "-" + std::to_string(subject.iter_stop())},
        {"layers", ranges_text(subject.layers)},
        {"ranks", std::to_string(subject.ep_size)},
        {"experts", std::to_string(subject.num_experts)},
        {"slots", std::to_string(subject.num_slots())},
        {"top_k", std::to_string(subject.top_k)},
    };
    std::string text;
    append(text, "<tr><th scope=\"row\" class=\"t name\"><b class=\"number\">", drawn.number,
           "</b> ", escape(subject.name), "</th>");
    // narrow screens show the labels beside the numbers
    for (const auto& [label, cell] : cells)
        append(text, "<td data-label=\"", label, "\">", cell, "</td>");
    append(text, "<td class=\"t\" data-label=\"tokens of replicas\">", split_text(subject),
           "</td></tr>\n");
    return text;
}

std::string card(const std::string& label, const std::string& value, const std::string& below) {
    std::string text;
    append(text, "<div class=\"card\"><div class=\"label\">", label, "</div><div class=\"value\">",
           value, "</div><div class=\"small\">", below, "</div></div>\n");
    return text;
}

// "1.51 → 0.126" of two; of more each with its number.
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
    const GridRow* const worst = drawn.grid.worst();
    return worst == nullptr ? "none" : short_number(worst->summary.imbalance_ratio);
}

std::string worst_layer(const Drawn& drawn) {
    const GridRow* const worst = drawn.grid.worst();
    return worst == nullptr ? "no tokens" : "layer " + std::to_string(worst->layer);
}

}  // namespace

std::string header(const ReportPage& page, const std::vector<Drawn>& subjects) {
    std::string text;
    append(text, "<header><h1>", escape(page.title), "</h1>\n");
    if (!page.verdict.empty())
        append(text, "<p class=\"verdict\">", escape(page.verdict), "</p>\n");
    text +=
        "<div class=\"sheet\"><table class=\"subjects\"><thead><tr><th scope=\"col\" "
        "class=\"t\">measured</th><th scope=\"col\">iterations</th><th scope=\"col\">layers</th>"
        "<th scope=\"col\">ranks</th><th scope=\"col\">experts</th><th scope=\"col\">slots</th>"
        "<th scope=\"col\">top_k</th><th scope=\"col\" class=\"t\">tokens of replicas</th></tr>"
        "</thead><tbody>\n";
    for (const Drawn& drawn : subjects)
        text += subject_row(drawn);
    return text + "</tbody></table></div></header>\n";
}

std::string summary_cards(const std::vector<Drawn>& subjects) {
    const std::string bins = subjects.front().grid.bin_name + "s";
    std::string text = "<div class=\"cards\">\n";
    text += card("Average imbalance ratio",
                 of_each(subjects,
                         [](const Drawn& drawn) {
                             return short_number(drawn.grid.average.imbalance_ratio);
                         }),
                 "(max − mean) / mean over " + bins + "; best 0");
    text += card("Worst layer", of_each(subjects, worst_value), of_each(subjects, worst_layer));
    text += card(
        "Balancedness",
        of_each(subjects,
                [](const Drawn& drawn) { return short_number(drawn.grid.average.balancedness); }),
        "mean / max over " + bins + "; best 1");
    if (subjects.size() == 2) {
        const double before = subjects.front().grid.average.imbalance_ratio;
        const double after = subjects.back().grid.average.imbalance_ratio;
        text += card("Estimated speed-up of the experts",
                     short_number((1 + before) / (1 + after)) + "x",
                     "(1 + imbalance before) / (1 + after): the fullest of the " + bins +
                         " holds the others up");
    }
    return text + "</div>\n";
}

}  // namespace eplb::html
