#include <string>
#include <utility>
#include <vector>

#include "lib/report/html/page.h"
#include "lib/report/text/short_names.h"
#include "tests/report/subjects.h"

namespace eplb::test_html_report {

using namespace eplb::test;

namespace {

// Four experts, layer 4 idle in iteration 102, layer 5 always. On two ranks, layer 3 has
// 6 2 | 2 6 | 4 4 and layer 4 has 4 0 | 3 1.
const Tokens kTokens = {
    {{6, 0, 1, 1}, {1, 1, 2, 4}, {2, 2, 2, 2}},
    {{0, 4, 0, 0}, {1, 2, 0, 1}, {0, 0, 0, 0}},
    {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}},
};

std::string page_of(const std::vector<const Subject*>& subjects,
                    std::vector<Table> tables = {},
                    Bins bins = Bins::ranks,
                    int num_threads = 1) {
    ThreadPool threads(num_threads);
    Measurements measurements(bins, threads);
    std::vector<const MeasuredSubject*> all;
    for (const Subject* const subject : subjects)
        all.push_back(&measurements.of(*subject));
    return html_report({.title = "Page",
                        .headline = {},
                        .notes = {},
                        .version = "1.2.3",
                        .subjects = all,
                        .tables = std::move(tables)});
}

std::string page_of(const Subject& subject) {
    return page_of(std::vector<const Subject*>{&subject});
}

int occurrences(const std::string& text, const std::string& part) {
    int count = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
        ++count;
    return count;
}

// The colour class of the cell with this tooltip.
std::string class_of(const std::string& page, const std::string& tooltip) {
    const std::size_t title = page.find("\"><title>" + tooltip);
    if (title == std::string::npos)
        return "";
    const std::size_t start = page.rfind('"', title - 1) + 1;
    return page.substr(start, title - start);
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("html: each cell tells layer, rank, tokens and their multiple of the mean") {
    const std::string page = page_of(subject_of(kTokens, 2));
    // layer 3: 12 and 12; layer 4: 7 and 1, mean 4
    CHECK(class_of(page, "layer 3, rank 0: 12 tokens (1.00x mean)</title>") == "q8");
    CHECK(class_of(page, "layer 3, rank 1: 12 tokens (1.00x mean)</title>") == "q8");
    CHECK(class_of(page, "layer 4, rank 0: 7 tokens (1.75x mean)</title>") == "q14");
    CHECK(class_of(page, "layer 4, rank 1: 1 tokens (0.25x mean)</title>") == "q2");
    CHECK(class_of(page, "layer 5: no tokens</title>") == "none");
    CHECK(occurrences(page, "x mean)</title>") == 4);
}

TEST_CASE("html: cells of shares, and beyond twice the mean") {
    // expert 0 alone on rank 2; layer 3 over all iterations: experts 9 3 5 7, mean 8 of three ranks
    const Placement placement{3, 2, {1, 2, 3, 3, 0, 0}};
    Subject subject =
        projected_subject(statistics_of(kTokens), "config", {placement, placement, placement});
    CHECK(contains(page_of(subject), "layer 3, rank 2: 9 tokens (1.12x mean)"));
    const Placement shared{2, 3, {0, 1, 2, 0, 0, 3}};
    subject = projected_subject(statistics_of(kTokens), "config", {shared, shared, shared});
    const std::string page = page_of(subject);
    // a third of 9 and 3 + 5; two thirds and 7
    CHECK(contains(page, "layer 3, rank 0: 11 tokens (0.92x mean)"));
    CHECK(contains(page, "layer 4, rank 0: 6.3 tokens (1.58x mean)"));
    CHECK(contains(page, "<p class=\"small\">1: " + split_note(subject) + ".</p>"));

    const std::string hot = page_of(subject_of({{{9, 1, 1, 1}}}, 4));
    CHECK(class_of(hot, "layer 3, rank 0: 9 tokens (3.00x mean)") == "q16");
}

TEST_CASE("html: experts instead of ranks") {
    const Subject subject = subject_of(kTokens, 2);
    const std::string page = page_of({&subject}, {}, Bins::slots);
    CHECK(contains(page, "layer 3, expert 0: 9 tokens (1.50x mean)"));
    CHECK(contains(page, "<h2>Load of each expert</h2>"));
}

TEST_CASE("html: cards") {
    // layer 3: ratios 1/2, 1/2, 0; layer 4: 1, 1/2. Balancedness 2/3, 2/3, 1; 1/2, 2/3
    const Subject before = named(subject_of(kTokens, 2), "before");
    const std::string one = page_of(before);
    CHECK(contains(one, "<div class=\"value\">0.542</div>"));  // (1/3 + 3/4) / 2
    CHECK(contains(one, "<div class=\"value\">0.750</div><div class=\"small\">layer 4</div>"));
    CHECK(contains(one, "<div class=\"value\">0.681</div>"));  // (7/9 + 7/12) / 2
    CHECK_FALSE(contains(one, "speed-up"));
    CHECK(contains(one, "1: 1 of 3 layers had no tokens"));

    const Subject after = named(subject_of({{{1, 1, 1, 2}}}, 2), "after");  // 3 / 2.5 - 1
    const std::string two = page_of({&before, &after});
    CHECK(contains(two, "<div class=\"value\">0.542 → 0.200</div>"));
    CHECK(contains(two, "<div class=\"small\">layer 4 before, layer 3 after</div>"));
    CHECK(contains(page_of({&before, &before}), ">layer 4 before and after</div>"));
    CHECK(contains(two, "<div class=\"value\">0.778x</div>"));  // 1.2 / 1.541667

    const std::string three = page_of({&before, &after, &after});
    CHECK(
        contains(three,
                 "<span class=\"each\"><b class=\"number\">1</b> 0.750 <span class=\"small\">layer "
                 "4</span></span>"));
}

TEST_CASE("html: what the summary does not know it does not invent") {
    Subject slots = subject_of(kTokens, 2);
    CHECK(contains(page_of(slots), "<td data-label=\"experts\">4</td>"));
    slots.placements.clear();
    slots.expert_load.clear();
    slots.ids = IdKind::slot;
    slots.top_k = 0;
    const std::string page = page_of(slots);
    CHECK(contains(page, "<td data-label=\"experts\">unknown</td>"));
    CHECK(contains(page, "<td data-label=\"slots\">4</td>"));
    CHECK(contains(page, "<td data-label=\"top_k\">unknown</td>"));
    CHECK(contains(page, "<p class=\"small\">1: recorded per slot.</p>"));
}

TEST_CASE("html: how replicas shared tokens is said once") {
    const Subject before = subject_of(kTokens, 2);
    const Placement shared{2, 3, {0, 1, 2, 0, 0, 3}};
    const Subject after =
        projected_subject(statistics_of(kTokens), "config", {shared, shared, shared});
    const std::string page = page_of({&before, &after, &after});
    CHECK(occurrences(page, split_note(after)) == 1);
    CHECK(contains(page, "<p class=\"small\">2, 3: " + split_note(after) + ".</p>"));
}

TEST_CASE("html: short names, with the whole ones as tooltips and at the end") {
    const Subject before = named(subject_of(kTokens, 2), "/data/runs/before/");
    const Subject after =
        named(subject_of(kTokens, 2), "/data/runs/before/ under /etc/configs/eplb.yaml");
    const std::string page = page_of({&before, &after});
    CHECK(contains(page,
                   "<b class=\"number\">1</b> <span title=\"/data/runs/before/\">before</span>"));
    CHECK(contains(page, ">before under eplb.yaml</span></figcaption>"));
    CHECK(contains(page, "<p>2: /data/runs/before/ under /etc/configs/eplb.yaml</p>"));

    using Names = std::vector<std::string>;
    CHECK(short_names({"/a/x", "/b/x", "/c/y"}) == Names{"a/x", "b/x", "c/y"});
    CHECK(short_names({"x under a/e.yaml", "x under b/e.yaml"}) ==
          Names{"x under a/e.yaml", "x under b/e.yaml"});
    CHECK(short_names({"/a/x", "/a/x"}) == Names{"x", "x"});
    CHECK(short_names({"x", "/x"}) == Names{"x", "/x"});
    CHECK(short_names({"/", "-", ""}) == Names{"/", "-", ""});
}

TEST_CASE("html: headline and notes stand at the top, the first table where it is asked for") {
    const Subject subject = named(subject_of(kTokens, 2), "name -> name");
    const MeasuredSubject name_to_name = measured(subject);
    Table table;
    table.title = "First:";
    table.columns = {{"layer", "layer"}};
    table.rows = {{std::int64_t{3}}};
    table.notes = {"0.5 -> 0.2"};
    Table second = table;
    second.title = "Second:";
    ReportPage page = {.title = "Page",
                       .headline = {"1 -> 2: a < b", "1 -> 3: c"},
                       .notes = {"Beware -> this"},
                       .version = "1.2.3",
                       .subjects = {&name_to_name},
                       .tables = {table, second}};
    std::string text = html_report(page);
    CHECK(contains(text,
                   "<p class=\"verdict\">1 → 2: a &lt; b</p>\n<p class=\"verdict\">1 → 3: c</p>\n"
                   "<p class=\"small\">Beware → this</p>\n"));
    CHECK(contains(text, "<p class=\"small\">0.5 → 0.2</p>"));
    CHECK(contains(text, "name -&gt; name"));  // a name stays as it is
    const std::string first = "<details open=\"open\"><summary>First (1 row)";
    const std::string other = "<details><summary>Second (1 row)";
    CHECK(contains(text, "<h2>Tables</h2>\n" + first));
    CHECK(occurrences(text, "First (") == 1);
    CHECK(text.find(other) > text.find(first));

    page.is_table_first = true;
    text = html_report(page);
    CHECK(text.find(first) < text.find("<h2>Imbalance ratio per layer"));
    CHECK(occurrences(text, "First (") == 1);
    CHECK(contains(text, "<h2>Tables</h2>\n" + other));
}

TEST_CASE("html: what is even beside the first is drawn on a finer scale") {
    // ranks 12 and 12, 7 and 1; the others 11 and 9, 10 and 10
    const Subject before = subject_of(kTokens, 2);
    const Subject even = subject_of({{{11, 9}}, {{10, 10}}}, 2);
    const std::string page = page_of({&before, &even});
    CHECK(class_of(page, "layer 4, rank 0: 7 tokens") == "q14");
    CHECK(class_of(page, "layer 3, rank 0: 11 tokens (1.10x mean)") == "f16");
    CHECK(class_of(page, "layer 3, rank 1: 9 tokens (0.90x mean)") == "f0");
    CHECK(class_of(page, "layer 4, rank 0: 10 tokens (1.00x mean)") == "f8");
    CHECK(contains(page, "2 is so even that a finer scale"));
    CHECK(contains(page, "it ends 10 % off the mean."));
    CHECK(contains(page, ">0.9x</text>"));
    CHECK(contains(page, ">1.05x</text>"));
    CHECK(occurrences(page, "aria-label=\"Scale: ") == 2);
    const Subject very_even = subject_of({{{102, 98}}}, 2);  // 2 of 5 %, 0.4 x 8 levels
    CHECK(class_of(page_of({&before, &very_even}), "layer 3, rank 0: 102 tokens") == "f11");
    CHECK(class_of(page_of({&before, &even, &very_even}), "layer 3, rank 0: 102 tokens") == "f10");
    // at the ends of it, and beyond
    const Subject edge = subject_of({{{12, 8}}}, 2);
    CHECK(class_of(page_of({&before, &edge}), "layer 3, rank 0: 12 tokens (1.20x mean)") == "f16");
    const Subject beyond = subject_of({{{121, 79}}}, 2);
    const std::string whole = page_of({&before, &even, &beyond});
    CHECK(occurrences(whole, "class=\"f") == 0);
    CHECK(class_of(whole, "layer 3, rank 0: 11 tokens") == "q9");  // 1.1 / 2 x 16 = 8.8
    CHECK(occurrences(whole, "aria-label=\"Scale: ") == 1);
    CHECK(class_of(page_of(even), "layer 3, rank 0: 11 tokens") == "q9");  // nothing beside it
}

TEST_CASE("html: bars of at most four, gaps where a subject lacks a layer") {
    const Subject before = named(subject_of(kTokens, 2), "before");
    const Subject after = named(subject_of({{{1, 1, 1, 2}}}, 2), "after");
    const std::string page = page_of({&before, &after, &before, &after, &before});
    CHECK(contains(page, "<title>layer 4 of 1: 0.750</title>"));
    CHECK(contains(page, "<title>layer 3 of 2: 0.200</title>"));
    CHECK_FALSE(contains(page, "<title>layer 4 of 2: "));
    CHECK(contains(page, "<title>layer 3 of 4: "));
    CHECK_FALSE(contains(page, "<title>layer 3 of 5: "));
    CHECK(contains(page, "The first 4 of 5."));
    CHECK(contains(page, "<b class=\"number\">2</b> 0.200</span>"));  // cards have all
    CHECK(contains(page, "<b class=\"number\">5</b> 0.542</span>"));
    CHECK(occurrences(page, "Heatmap of ") == 5);
    CHECK(contains(page, "The same in 2, 3, 4. Those after 4 are left out."));
    CHECK(occurrences(page, "One iteration: there is no line to draw") == 2);
    CHECK(occurrences(page, "aria-label=\"Imbalance ratio of the worst layers") == 2);
}

TEST_CASE("html: lines of the worst layers, broken where there are no tokens") {
    // box 1000 x 200; axis 0 to 1 in steps of 0.2. Layer 4 (ratio 1, 0.5, none), layer 3 (.5 .5 0)
    const std::string page = page_of(subject_of(kTokens, 2));
    CHECK(contains(page, "in 1: 4, 3."));
    CHECK(contains(page, "<path d=\"M0 0h0L500 100\" class=\"line s0\"><title>layer 4: 0.750 on"));
    CHECK(contains(page, "<path d=\"M0 100h0L500 100L1000 200\" class=\"line s1\">"));
    CHECK(contains(page, ">iteration</text>"));

    CHECK(contains(page_of(subject_of({{{1, 3}}}, 2)), "One iteration: there is no line to draw"));

    // a dot between iterations without tokens: M with a line of no length
    const std::string dots = page_of(subject_of({{{1, 3}, {0, 0}, {2, 2}, {0, 0}, {1, 1}}}, 2));
    CHECK(contains(dots, "\"M0 0h0M500 200h0M1000 200h0\""));
}

TEST_CASE("html: long recordings are thinned out") {
    std::vector<std::vector<std::int64_t>> iterations(1001, {1, 3});
    iterations[0] = {2, 2};
    iterations[1] = {4, 0};
    const std::string page = page_of(subject_of({iterations}, 2));
    CHECK(contains(page, "A point is the mean of 3 iterations."));
    // (0 + 1 + 0.5) / 3 = 0.5, as all others
    CHECK(contains(page, "\"M0 0h0L3 0L6 0"));
}

TEST_CASE("html: whatever stands in names and tables is text") {
    const Subject subject =
        named(subject_of(kTokens, 2), "<b>&\"'\x01\xff\xc3\xa9\xed\xa0\x80\xc0\xaf");
    Table table;
    table.title = "A <table>:";
    table.columns = {{"layer", "layer"}, {"a", "a<b"}, {"n", "n"}, {"r", "r"}};
    table.rows = {{std::int64_t{3}, std::string("x&y"), 0.123456, IntegerList{3, 17}},
                  {std::int64_t{4}, std::string("<i>"), std::nan(""), IntegerList{}}};
    table.average = {std::string("average"), std::string(""), 12.5, std::string("")};
    table.notes = {"1 < 2"};
    const std::string page = page_of({&subject}, {table});
    const std::string bad = "\xef\xbf\xbd";
    CHECK(contains(
        page, "&lt;b&gt;&amp;&quot;&#39;" + bad + bad + "\xc3\xa9" + bad + bad + bad + bad + bad));
    CHECK_FALSE(contains(page, "<b>&"));
    CHECK(contains(page, "<summary>A &lt;table&gt; (2 rows)</summary>"));
    CHECK(contains(page,
                   "<tr><th scope=\"col\">layer</th><th scope=\"col\" class=\"t\">a&lt;b</th>"));
    // four digits count in the largest of a column
    CHECK(contains(page,
                   "<tr><th scope=\"row\">3</th><td class=\"t\">x&amp;y</td><td>0.12</td>"
                   "<td>3 17</td></tr>"));
    CHECK(contains(page, "<td class=\"t\">&lt;i&gt;</td><td>–</td><td></td></tr>"));
    CHECK(contains(page, "<tfoot><tr><th scope=\"row\" class=\"t\">average</th>"));
    CHECK(contains(page, "1 &lt; 2</p>"));
}

TEST_CASE("html: where there is little to show, a sentence says why") {
    CHECK(contains(page_of(subject_of(kTokens, 1)), "1: one rank, there is nothing to balance"));
    const std::string silent = page_of(subject_of({{{0, 0}, {0, 0}}}, 2));
    CHECK(contains(silent, "1: 1 of 1 layers had no tokens"));
    CHECK(contains(silent, "in 1: none."));
    const std::string body = silent.substr(silent.find("</style>"));
    CHECK_FALSE(contains(body, "nan"));
    CHECK_FALSE(contains(body, "inf"));
}

TEST_CASE("html: the same bytes for any number of threads, nothing from elsewhere") {
    const Subject subject = subject_of(kTokens, 2);
    const std::string page = page_of({&subject, &subject});
    CHECK(page == page_of({&subject, &subject}, {}, Bins::ranks, 4));
    CHECK(occurrences(page, "http") == 1);  // the name of XHTML
    for (const char* const part : {"<script", "<link", "<img", "@import", "url(", "src=", "href="})
        CHECK_FALSE(contains(page, part));
    CHECK(contains(page, "eplb-report 1.2.3"));
}

}  // namespace eplb::test_html_report
