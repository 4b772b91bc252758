#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "lib/report/text/picture_text.h"
#include "lib/report/views/heat.h"
#include "lib/report/views/heatmap.h"
#include "tests/report/subjects.h"

namespace eplb::test_heatmap {

using namespace eplb::test;

namespace {

// Four experts on four ranks. Layer 3 over both iterations: 0 4 8 12, mean 6; ratios 7 / 3 - 1 and
// 5 / 3 - 1. Layer 4 has no tokens.
const Tokens kTokens = {
    {{0, 1, 4, 7}, {0, 3, 4, 5}},
    {{0, 0, 0, 0}, {0, 0, 0, 0}},
};

std::string draw(const Subject& subject, const HeatmapStyle& style, Bins bins = Bins::ranks) {
    return draw_heatmap(measured(subject, bins), style);
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);)
        lines.push_back(line);
    return lines;
}

std::string without_colours(const std::string& text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i)
        if (text[i] == '\x1b')
            i = text.find('m', i);
        else
            plain += text[i];
    return plain;
}

// One layer, one iteration: 10 tokens each, but 45 on one.
Subject one_hot(int num_ranks, int hot) {
    std::vector<std::int64_t> row(num_ranks, 10);
    row[hot] = 45;
    return subject_of({{row}}, num_ranks);
}

}  // namespace

TEST_CASE("heatmap: a character per rank, the ratio to the right, the legend below") {
    CHECK(draw(named(subject_of(kTokens, 4), "stats"), {.width = 80, .unicode = true}) ==
          "stats, iterations 100-102:\n"
          "layer    0     imbalance-ratio\n"
          "      3  ▁▃▆█             1.00\n"
          "      4              no tokens\n"
          "average                   1.00\n"
          "cell: tokens of one rank / mean of the layer, over all iterations\n"
          "from  ▁ 0  ▂ 0.25  ▃ 0.5  ▄ 0.75  ▅ 1  ▆ 1.25  ▇ 1.5  █ 1.75\n");
    CHECK(draw(named(subject_of(kTokens, 4), "a\nb"), {.width = 80}) ==
          "a b, iterations 100-102:\n"
          "layer    0     imbalance-ratio\n"
          "      3   -*@             1.00\n"
          "      4              no tokens\n"
          "average                   1.00\n"
          "cell: tokens of one rank / mean of the layer, over all iterations\n"
          "from  ' ' 0  . 0.2  : 0.4  - 0.6  = 0.8  + 1  * 1.2  # 1.4  % 1.6  @ 1.8\n");
}

TEST_CASE("heatmap: two experts of a rank are one cell, or two") {
    const Subject subject = subject_of(kTokens, 2);
    // 4 and 20, mean 12
    CHECK(lines_of(draw(subject, {.unicode = true}))[2].starts_with("      3  ▂▇ "));
    const std::vector<std::string> experts =
        lines_of(draw(subject, {.unicode = true}, Bins::slots));
    CHECK(experts[2].starts_with("      3  ▁▃▆█ "));
    CHECK(experts[5] == "cell: tokens of one expert / mean of the layer, over all iterations");
}

TEST_CASE("heatmap: no rank is hidden where the window is too narrow for all") {
    const int width = GENERATE(40, 57, 80, 200);
    const int hot = GENERATE(0, 1, 149, 298, 299);
    CAPTURE(width, hot);
    const std::vector<std::string> lines = lines_of(draw(one_hot(300, hot), {.width = width}));
    for (std::size_t i = 1; i < 3; ++i)
        CHECK(lines[i].size() <= static_cast<std::size_t>(width));
    // the hot one is 4.5 times as loaded as the others, which are nearly the mean: one @, = around
    // it
    const std::string& row = lines[2];
    CHECK(std::count(row.begin(), row.end(), '@') == 1);
    const std::size_t num_cells =
        static_cast<std::size_t>(std::count(row.begin(), row.end(), '=')) + 1;
    const std::size_t per_cell = (300 + num_cells - 1) / num_cells;
    CHECK(row.find('@') - 9 == static_cast<std::size_t>(hot) / per_cell);
    CHECK(lines[3].starts_with("cell: tokens of the most loaded of " + std::to_string(per_cell) +
                               " neighbouring ranks / "));
}

TEST_CASE("heatmap: ids above the cells") {
    const std::vector<std::string> lines = lines_of(draw(one_hot(24, 10), {.width = 80}));
    CHECK(lines[1].starts_with("layer    0         10        20 "));
    CHECK(lines[2].find('@') == lines[1].find("10"));
}

TEST_CASE("heatmap: colours change no character and end with each row") {
    const Subject subject = subject_of(kTokens, 4);
    for (const bool unicode : {true, false}) {
        const std::string plain = draw(subject, {.unicode = unicode});
        const std::string coloured = draw(subject, {.unicode = unicode, .colour = true});
        CHECK(plain.find('\x1b') == std::string::npos);
        CHECK(coloured != plain);
        CHECK(without_colours(coloured) == plain);
        for (const std::string& line : lines_of(coloured)) {
            CAPTURE(line);
            const std::size_t last = line.rfind("\x1b[");
            if (last != std::string::npos)
                CHECK(line.substr(last, 4) == "\x1b[0m");
        }
    }
}

TEST_CASE("heatmap: the mean is never below the line, however it was rounded") {
    // three replicas of one expert share 1 token: 1 / 3 each, whose mean need not be 1 / 3
    for (int tokens = 1; tokens < 50; ++tokens) {
        const Placement placement{3, 1, {0, 0, 0}};
        const Subject subject =
            projected_subject(statistics_of({{{tokens}, {2 * tokens}}}), "shares", {placement});
        CHECK(lines_of(draw(subject, {.unicode = true}))[2].starts_with("      3  ▅▅▅ "));
    }
    CHECK(heat_level(0, 8) == 0);
    CHECK(heat_level(1, 8) == 4);
    CHECK(heat_level(1.9999, 8) == 7);
    CHECK(heat_level(250, 8) == 7);
}

TEST_CASE("numbers in pictures") {
    CHECK(short_number(0) == "0");
    CHECK(short_number(1.5113245) == "1.51");
    CHECK(short_number(0.0351) == "0.0351");
    CHECK(short_number(0.105) == "0.105");
    CHECK(short_number(0.9996) == "1.00");
    CHECK(short_number(12.34) == "12.3");
    CHECK(short_number(99.96) == "100");
    CHECK(short_number(31000) == "31000");
    CHECK(tokens_text(3544) == "3544");
    CHECK(tokens_text(886.25) == "886.2");
    CHECK(ranges_text({3, 4, 5, 10, 12, 13}) == "3-5, 10, 12-13");
    CHECK(ranges_text({}).empty());
    CHECK(trimmed(0.25, 3) == "0.25");
    CHECK(trimmed(100, 0) == "100");
    // at most five steps, round ones
    CHECK(axis_step(2.17, 5) == Approx(0.5));
    CHECK(axis_step(0.9, 5) == Approx(0.2));
    CHECK(axis_step(1, 5) == Approx(0.2));
    CHECK(axis_step(12, 5) == Approx(2.5));
    CHECK(axis_step(0, 5) == Approx(0.5));
}

}  // namespace eplb::test_heatmap
