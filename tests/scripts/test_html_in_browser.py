#!/usr/bin/env python3
"""The page of eplb-report --html in a headless Chromium: test_html_in_browser.py TOOLS_FOLDER

Skipped where there is no Chromium. What a page measures of itself comes from a script that is
appended to a copy of it.
"""

import html
import json
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

TOOL = pathlib.Path(sys.argv.pop(1)).resolve() / "eplb-report"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
SKIPPED = 77
NUM_EXPERTS, EP_SIZE, LAYERS, ITERATIONS = 72, 36, list(range(3, 61)), 6

# writes what it finds into the page, where --dump-dom shows it
MEASURE = """<script>
const frame = document.documentElement;
const inSheet = e => e.closest('.sheet, .scroll');
const boxes = [...document.querySelectorAll('.plot, .scale')].map(plot => {
  const parts = [...plot.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
  let collisions = [];
  for (let i = 0; i < parts.length; ++i)
    for (let j = 0; j < i; ++j) {
      const a = parts[i][1], b = parts[j][1];
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5 &&
          Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
        collisions.push(parts[i][0] + ' / ' + parts[j][0]);
    }
  return collisions;
});
const found = {
  width: frame.clientWidth,
  scrollWidth: frame.scrollWidth,
  outside: [...document.querySelectorAll('svg text')].filter(t => !inSheet(t)).map(
      t => t.getBoundingClientRect()).filter(b => b.left < 0 || b.right > frame.clientWidth).length,
  rects: document.querySelectorAll('svg rect > title').length,
  empty: [...document.querySelectorAll('.gaps rect')].filter(
      r => r.getBoundingClientRect().width < 2 || r.getBoundingClientRect().height < 5).length,
  collisions: boxes.flat(),
  background: getComputedStyle(document.body).backgroundColor,
  cell: getComputedStyle(document.querySelector('.q8')).fill,
  resources: performance.getEntriesByType('resource').map(e => e.name),
};
const pre = document.createElement('pre');
pre.id = 'found';
pre.textContent = JSON.stringify(found);
document.body.append(pre);
</script></body>"""


def write_stream(path, seed, skew):
    rng = random.Random(seed)
    popularity = {layer: [rng.lognormvariate(0, skew) for _ in range(NUM_EXPERTS)]
                  for layer in LAYERS}
    with open(path, "w", encoding="utf-8") as out:
        def write(line):
            out.write(json.dumps(line) + "\n")
        write({"format": "eplb-statistics", "version": 1, "num_experts": NUM_EXPERTS, "top_k": 8,
               "ep_size": 1, "layers": LAYERS, "iter_start": 100})
        for i in range(ITERATIONS):
            for layer in LAYERS:
                write({"iteration": 100 + i, "layer": layer,
                       "counts": [[round(100 * p * rng.uniform(0.7, 1.3))
                                   for p in popularity[layer]]]})
        write({"end": True, "num_iterations": ITERATIONS})


def write_config(path):
    """Every expert twice, its second replica half of the ranks away."""
    slots = [(slot + (NUM_EXPERTS // 2 if slot >= NUM_EXPERTS else 0)) % NUM_EXPERTS
             for slot in range(2 * NUM_EXPERTS)]
    lines = "".join(f"  {layer}: {slots}\n" for layer in LAYERS)
    path.write_text(f"initial_global_assignments:\n{lines}layer_updates_per_iter: 0\n"
                    f"num_slots: {len(slots)}\n")


def first_pixel(path):
    """Red, green and blue of the upper left corner of a PNG of 8 bits (RFC 2083)."""
    data = path.read_bytes()
    at, pixels = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IDAT":
            pixels += data[at + 8:at + 8 + length]
        at += 12 + length
    return tuple(zlib.decompress(pixels)[1:4])  # filters leave the first pixel as it is


class InBrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        statistics = "statistics_of_" + 10 * "a_long_name_" + ".jsonl"
        write_stream(cls.folder / statistics, 3, 1.0)
        write_config(cls.folder / "eplb.yaml")
        subprocess.run([TOOL, statistics, "--ep_size", str(EP_SIZE),
                        "--projection_eplb_config_path", "eplb.yaml", "--html", "page.html",
                        "-o", "table.txt"], cwd=cls.folder, check=True)
        page = (cls.folder / "page.html").read_text(encoding="utf-8")
        (cls.folder / "measured.html").write_text(page.replace("</body>", MEASURE),
                                                  encoding="utf-8")
        # a window has a least width, a frame has not
        (cls.folder / "framed.html").write_text(
            "<!DOCTYPE html><body><iframe id=frame src=measured.html width=400 height=800>"
            "</iframe><script>onload = () => { document.body.append(Object.assign("
            "document.createElement('pre'), {id: 'found', textContent: "
            "frame.contentDocument.getElementById('found').textContent})); }</script></body>")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def chromium(self, page, *arguments):
        """What it prints; nothing of the page may be worth a line in the console."""
        result = subprocess.run(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--blink-settings=preferredColorScheme=1",
             "--allow-file-access-from-files", "--enable-logging=stderr",
             f"--user-data-dir={self.folder / 'profile'}", *arguments,
             (self.folder / page).as_uri()],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", check=True,
            timeout=60)
        self.assertEqual(re.findall(r".*CONSOLE.*", result.stderr), [])
        return result.stdout

    def measure(self, page, *arguments):
        dom = self.chromium(page, "--dump-dom", *arguments)
        return json.loads(html.unescape(re.search(r'<pre id="found">([^<]*)</pre>', dom).group(1)))

    def test_console_is_watched(self):
        (self.folder / "bad.html").write_text("<script>console.error('mistake')</script>")
        with self.assertRaises(AssertionError):
            self.chromium("bad.html", "--dump-dom")

    def test_a_screen(self):
        found = self.measure("measured.html", "--window-size=1280,900")
        self.assertEqual(found["width"], 1280)
        self.assertLessEqual(found["scrollWidth"], 1280)
        self.assertEqual(found["outside"], 0)
        # cells of two subjects, and bars
        self.assertEqual(found["rects"], 2 * len(LAYERS) * (EP_SIZE + 1))
        self.assertEqual(found["empty"], 0)
        self.assertEqual(found["collisions"], [])
        self.assertEqual(found["background"], "rgb(255, 255, 255)")
        self.assertEqual(found["resources"], [])

    def test_a_telephone(self):
        found = self.measure("framed.html", "--window-size=900,900")
        self.assertEqual(found["width"], 400)
        self.assertLessEqual(found["scrollWidth"], 400)
        self.assertEqual(found["outside"], 0)
        self.assertEqual(found["empty"], 0)
        self.assertEqual(found["collisions"], [])

    def test_a_wide_and_dark_screen(self):
        light = self.measure("measured.html", "--window-size=1600,900")
        dark = self.measure("measured.html", "--window-size=1600,900",
                            "--blink-settings=preferredColorScheme=0")
        self.assertLessEqual(dark["scrollWidth"], 1600)
        self.assertEqual(dark["collisions"], [])
        self.assertNotEqual(dark["background"], light["background"])
        self.assertNotEqual(dark["cell"], light["cell"])

    def test_pictures_of_it(self):
        for scheme, is_dark in (("1", False), ("0", True)):
            picture = self.folder / f"scheme{scheme}.png"
            self.chromium("page.html", f"--screenshot={picture}", "--window-size=800,600",
                          f"--blink-settings=preferredColorScheme={scheme}")
            self.assertEqual(max(first_pixel(picture)) < 128, is_dark)

    def test_on_paper(self):
        self.chromium("page.html", f"--print-to-pdf={self.folder / 'page.pdf'}",
                      "--no-pdf-header-footer")
        data = (self.folder / "page.pdf").read_bytes()
        self.assertTrue(data.startswith(b"%PDF"))
        # summary and bars, a page per heatmap, time-lines, tables
        self.assertGreaterEqual(len(re.findall(rb"/Type\s*/Page\b", data)), 5)


if __name__ == "__main__":
    if CHROMIUM is None:
        print("skipped: there is no chromium", file=sys.stderr)
        sys.exit(SKIPPED)
    unittest.main()
