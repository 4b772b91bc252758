#!/usr/bin/env python3
"""The page of eplb-report --html, without a browser: test_html_page.py TOOLS_FOLDER

Well-formed, every cell's numbers against loads added up here, colours that can be read (WCAG 2.2),
written whole or not at all.
"""

import html.parser
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

TOOL = pathlib.Path(sys.argv.pop(1)).resolve() / "eplb-report"
NUM_EXPERTS, EP_SIZE, LAYERS, ITERATIONS, ITER_START = 12, 4, [3, 4, 9], 5, 7
SVG = "{http://www.w3.org/1999/xhtml}"  # an HTML parser moves svg to its own namespace, XML does not
VOID = {"meta", "br", "hr", "img", "link", "input"}


def random_counts():
    """{(iteration, layer): [NUM_EXPERTS]}; layer 4 has no tokens in the last iteration."""
    rng = random.Random(11)
    counts = {}
    for i in range(ITERATIONS):
        for layer in LAYERS:
            is_idle = layer == 4 and i == ITERATIONS - 1
            counts[i, layer] = [0 if is_idle else rng.randrange(50) for _ in range(NUM_EXPERTS)]
    return counts


def write_stream(path, counts):
    lines = [{"format": "eplb-statistics", "version": 1, "num_experts": NUM_EXPERTS, "top_k": 2,
              "ep_size": 1, "layers": LAYERS, "iter_start": ITER_START}]
    for (iteration, layer), row in counts.items():
        lines.append({"iteration": ITER_START + iteration, "layer": layer, "counts": [row]})
    lines.append({"end": True, "num_iterations": ITERATIONS})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def rank_loads(counts, layer):
    """[ITERATIONS][EP_SIZE], experts in order."""
    size = NUM_EXPERTS // EP_SIZE
    return [[sum(counts[i, layer][rank * size:(rank + 1) * size]) for rank in range(EP_SIZE)]
            for i in range(ITERATIONS)]


class StartsAndEnds(html.parser.HTMLParser):
    """Every element that starts ends, in order."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.tags = set()

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


class Page(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.counts = random_counts()
        self.name = b"stats <&\"'\xff.jsonl"
        write_stream(pathlib.Path(os.fsdecode(bytes(self.folder) + b"/" + self.name)), self.counts)

    def report(self, *arguments, check=True):
        result = subprocess.run([TOOL, self.name, *arguments], cwd=self.folder, check=False,
                                capture_output=True)
        if check:
            self.assertEqual(result.returncode, 0, result.stderr)
        return result

    def page(self, *arguments):
        if "--ep_size" not in arguments:
            arguments = ("--ep_size", str(EP_SIZE), *arguments)
        self.report("--html", "page.html", *arguments)
        return (self.folder / "page.html").read_text(encoding="utf-8")

    def test_is_well_formed(self):
        page = self.page()
        parser = StartsAndEnds()
        parser.feed(page)
        parser.close()
        self.assertEqual(parser.open, [])
        self.assertFalse(parser.tags & {"script", "link", "img", "iframe", "object", "a"})
        tree = xml.etree.ElementTree.fromstring(page)
        self.assertIn("stats <&\"'\ufffd.jsonl",
                      "".join(tree.find(f".//{SVG}figcaption").itertext()))

    def test_cells_hold_the_loads(self):
        tree = xml.etree.ElementTree.fromstring(self.page())
        titles = [title.text for title in tree.iter(f"{SVG}title") if ", rank " in title.text]
        expected = []
        for layer in LAYERS:
            loads = [sum(load) for load in zip(*rank_loads(self.counts, layer))]
            mean = sum(loads) / EP_SIZE
            expected += [f"layer {layer}, rank {rank}: {load} tokens ({load / mean:.2f}x mean)"
                         for rank, load in enumerate(loads)]
        self.assertEqual(titles, expected)

    def test_cells_fill_the_width(self):
        tree = xml.etree.ElementTree.fromstring(self.page())
        for rect in tree.iter(f"{SVG}rect"):
            title = rect.find(f"{SVG}title")
            if title is not None and ", rank " in title.text:
                rank = int(re.search(r"rank (\d+)", title.text).group(1))
                self.assertEqual((rect.get("x"), rect.get("width")),
                                 (f"{100 * rank // EP_SIZE}%", f"{100 // EP_SIZE}%"))

    def test_bars_and_cards_hold_the_ratios(self):
        tree = xml.etree.ElementTree.fromstring(self.page())
        ratios = {}
        for layer in LAYERS:
            parts = [max(load) / (sum(load) / EP_SIZE) - 1
                     for load in rank_loads(self.counts, layer) if sum(load) > 0]
            ratios[layer] = sum(parts) / len(parts)
        titles = [title.text for title in tree.iter(f"{SVG}title") if " of 1: " in title.text]
        self.assertEqual(titles, [f"layer {layer} of 1: {ratio:.3f}"
                                  for layer, ratio in ratios.items()])
        values = [element.text for element in tree.iter(f"{SVG}div")
                  if element.get("class") == "value"]
        self.assertEqual(values[:2], [f"{sum(ratios.values()) / len(ratios):.3f}",
                                      f"{max(ratios.values()):.3f}"])

    def test_table_is_there(self):
        tree = xml.etree.ElementTree.fromstring(self.page())
        details = tree.find(f".//{SVG}details")
        self.assertEqual(details.get("open"), "open")
        labels = [row.find(f"{SVG}th").text for row in details.find(f".//{SVG}tbody")]
        self.assertEqual(labels, [str(layer) for layer in LAYERS])

    def write_config(self, name, order):
        """As many slots as experts, in this order."""
        lines = "".join(f"  {layer}: {list(order)}\n" for layer in LAYERS)
        (self.folder / name).write_text(f"initial_global_assignments:\n{lines}"
                                        f"layer_updates_per_iter: 0\nnum_slots: {len(order)}\n")

    def configs(self, count):
        """Options for configs that are rotations of the experts."""
        options = []
        for i in range(count):
            order = [(slot + 1 + i) % NUM_EXPERTS for slot in range(NUM_EXPERTS)]
            self.write_config(f"eplb{i}.yaml", order)
            options += ["--projection_eplb_config_path", f"eplb{i}.yaml"]
        return options

    def parts(self, *arguments):
        """Headline, notes below it, and [summary, is open, stands before the pictures] of tables;
        beside it what JSON says of the view."""
        tree = xml.etree.ElementTree.fromstring(self.page("--format", "json", "-o", "out.json",
                                                          *arguments))
        header = tree.find(f".//{SVG}header")
        headline = [p.text for p in header.iter(f"{SVG}p") if p.get("class") == "verdict"]
        notes = [p.text for p in header.iter(f"{SVG}p") if p.get("class") == "small"]
        tables, has_pictures = [], False
        for element in tree.iter():
            has_pictures |= element.tag == f"{SVG}figure"
            if element.tag == f"{SVG}details":
                tables.append((re.sub(r" \(\d+ rows?\)$", "", element.find(f"{SVG}summary").text),
                               element.get("open") == "open", not has_pictures))
        view = json.loads((self.folder / "out.json").read_text(encoding="utf-8", errors="replace"))
        return headline, notes, tables, view

    def test_headline_is_that_of_the_view(self):
        for arguments, prefix, name in (
                (["--view", "held_out"], "", "Held out"),
                (["--view", "faults"], "2: ", "Lost with a rank"),
                (["--view", "worth"], "1 → 2: ", "Tokens of the fullest rank"),
                (["--view", "comparison"], "1 → 2: ", "Comparison")):
            headline, notes, tables, view = self.parts(*self.configs(1), *arguments)
            self.assertEqual(len(headline), 1)
            self.assertTrue(headline[0].startswith(prefix), headline)
            words = re.sub(r"[^a-z]+", " ", view["notes"][-1].lower())
            self.assertTrue(re.sub(r"[^a-z]+", " ", headline[0].lower()).strip().endswith(
                words.strip()), (headline, view["notes"][-1]))
            self.assertNotRegex(headline[0], r"->|\d\.\d{4}|[1-9]\.\d{3}")
            self.assertTrue(tables[0][0].startswith(name), tables)
            self.assertEqual(tables[0][1:], (True, True))
            self.assertTrue(all(not is_open and not is_first for _, is_open, is_first in tables[1:]))
            for note in view["notes"][-3:-1]:
                if not re.match(r"\d: ", note):
                    self.assertIn(note.replace(" -> ", " → "), notes)

    def test_headline_of_drift_under_a_config_has_both_verdicts(self):
        write_stream(self.folder / "now.jsonl", self.counts)
        headline, _, tables, view = self.parts("now.jsonl", *self.configs(1), "--view", "drift")
        self.assertEqual(len(headline), 2)
        self.assertIn("drifted", headline[0])
        self.assertIn("Under the config", headline[1])
        self.assertEqual(tables[0][1:], (True, True))

    def test_top_is_no_verdict(self):
        whole = self.parts(*self.configs(1), "--view", "held_out")
        cut = self.parts(*self.configs(1), "--view", "held_out", "--top", "1")
        self.assertIn("1 of 3 rows", cut[3]["notes"][-1])
        self.assertEqual(cut[0], whole[0])

    def test_notes_above_are_not_said_again_by_the_first_table(self):
        page = self.page(*self.configs(1), "--view", "held_out")
        self.assertEqual(page.count("Token-ratio: of the fullest rank"), 1)
        # nobody asked for the table, which stands whole further down
        self.assertEqual(self.page().count("p50 to max"), 2)

    def test_layers_of_one_recording(self):
        headline, notes, tables, view = self.parts()
        self.assertEqual(headline, [view["notes"][-1]])
        self.assertEqual(notes, view["notes"][:-1])
        self.assertEqual([name for name, _, _ in tables],
                         ["Load statistics", "Percentiles over layers", "Load of ranks"])
        self.assertEqual(tables[0][1:], (True, False))  # nobody asked for it: pictures first
        tables = self.parts("--view", "ranks")[2]
        self.assertEqual([name for name, _, _ in tables],
                         ["Load of ranks", "Load statistics", "Percentiles over layers"])
        self.assertEqual(tables[0][1:], (True, True))
        # some rows are not the table
        self.assertEqual(len(self.parts("--top", "1")[2]), 4)

    def test_warnings_stand_below_the_headline(self):
        headline, notes, _, _ = self.parts(*self.configs(1))
        self.assertRegex(headline[0], "^1 → 2: average imbalance ")
        self.assertTrue(any(note.startswith("A config looks better than it is") for note in notes))
        self.assertTrue(any("too few iterations with tokens for an interval" in note for note in notes))

    def test_several_configs(self):
        headline, _, tables, _ = self.parts(*self.configs(4))
        self.assertEqual([line[:6] for line in headline], ["1 → 2:", "1 → 3:", "1 → 4:", "1 → 5:", "Least "])
        names = [name for name, _, _ in tables]
        self.assertEqual(names[0], "Comparison")
        self.assertEqual(len(names), 1 + 3 * 4)  # the first four
        self.assertRegex(names[4], "^Load statistics, 2: .* under eplb0.yaml$")
        self.assertRegex(names[7], "^Load statistics, 3: .* under eplb1.yaml$")

    def test_numbers_agree_where_the_recording_has_no_ranks(self):
        # 12 experts do not lie evenly on 8 ranks; under the config there are 16 slots
        self.write_config("more.yaml", [slot % NUM_EXPERTS for slot in range(16)])
        headline = self.parts("--projection_eplb_config_path", "more.yaml", "--ep_size", "8")[0]
        self.assertRegex(headline[0], "^1 → 2: average imbalance ")
        options = ["--projection_eplb_config_path", "more.yaml"] * 2 + ["--ep_size", "8"]
        headline, notes, _, _ = self.parts(*options)
        self.assertEqual([line[:6] for line in headline], ["1 → 2:", "1 → 3:", "Least "])
        self.assertTrue(any(note.startswith("The numbers of ranks differ") for note in notes))

    def test_same_bytes_for_any_number_of_threads(self):
        self.assertEqual(self.page("--threads", "1"), self.page("--threads", "3"))

    def test_text_can_be_read(self):
        schemes = re.findall(r":root\{([^}]*)\}", self.page())
        self.assertEqual(len(schemes), 2)
        for scheme in schemes:
            colours = dict(re.findall(r"--(\w+):(#\w{6})", scheme))
            for text in ("ink", "quiet", "s0", "s1", "s2", "s3", "s4"):
                for ground in ("page", "card"):
                    self.assertGreaterEqual(contrast(colours[text], colours[ground]), 4.5,
                                            (text, ground))
            self.assertGreaterEqual(contrast(colours["base"], colours["page"]), 3)

    def test_size_of_a_large_model(self):
        script = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts/make_statistics.py"
        subprocess.run([sys.executable, script, "large", "--ep_size", "36", "--num_experts", "288",
                        "--num_layers", "58", "--num_iterations", "8"], cwd=self.folder, check=True)
        yaml = "".join(f"  {layer}: {list(range(287, -1, -1))}\n" for layer in range(3, 61))
        (self.folder / "eplb.yaml").write_text(
            f"initial_global_assignments:\n{yaml}layer_updates_per_iter: 0\nnum_slots: 288\n")
        self.name = "large"
        self.report("--projection_eplb_config_path", "eplb.yaml", "--ep_size", "36", "--html",
                    "page.html")
        page = (self.folder / "page.html").read_text(encoding="utf-8")
        self.assertEqual(len(re.findall(r"rank \d+: \d+ tokens", page)), 2 * 58 * 36)
        self.assertLess(len(page.encode()), 2_000_000)

    def test_is_written_whole_or_not_at_all(self):
        (self.folder / "page.html").write_text("old")
        result = self.report("--ep_size", "5", "--html", "page.html", check=False)
        self.assertEqual(result.returncode, 2)
        self.assertEqual((self.folder / "page.html").read_text(), "old")
        result = self.report("--ep_size", "4", "--html", "no/such/page.html", check=False)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout, b"")

    def test_needs_a_name_of_its_own(self):
        for arguments in (("--html", "-"), ("--html", "x", "-o", "x"), ("--html", self.name),
                          ("--html", "x", "-o", "./x"),
                          ("--html", "x", "-o", str(self.folder / "x"))):
            result = self.report("--ep_size", "4", *arguments, check=False)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertIn(b"name of its own", result.stderr)
        self.assertEqual(os.listdir(bytes(self.folder)), [self.name])


if __name__ == "__main__":
    unittest.main()
