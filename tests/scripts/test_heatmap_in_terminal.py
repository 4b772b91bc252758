#!/usr/bin/env python3
"""eplb-report --heatmap in a terminal, a pipe and a file: test_heatmap_in_terminal.py TOOLS_FOLDER"""

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

TOOL = pathlib.Path(sys.argv.pop(1)).resolve() / "eplb-report"
NUM_EXPERTS = 300
BLOCKS = "▁▂▃▄▅▆▇█"


def cells_of(text):
    """The characters of the only layer's row."""
    row = re.search(r"^      3  (.*?)\s+[\d.]+\r?$", text, re.M).group(1)
    return re.sub("\x1b\\[[0-9;]*m", "", row)


class Heatmap(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        lines = [{"format": "eplb-statistics", "version": 1, "num_experts": NUM_EXPERTS, "top_k": 1,
                  "ep_size": 1, "layers": [3], "iter_start": 0},
                 {"iteration": 0, "layer": 3, "counts": [[10] * NUM_EXPERTS]},
                 {"end": True, "num_iterations": 1}]
        (self.folder / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def command(self, ep_size, *arguments):
        return [TOOL, "s.jsonl", "--ep_size", str(ep_size), "--heatmap", *arguments]

    def environment(self, **variables):
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm-256color",
                **variables}

    def piped(self, ep_size, *arguments, **variables):
        return subprocess.run(self.command(ep_size, *arguments), cwd=self.folder, check=True,
                              env=self.environment(**variables), stdout=subprocess.PIPE,
                              encoding="utf-8").stdout

    def in_terminal(self, ep_size, width, **variables):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        subprocess.run(self.command(ep_size), cwd=self.folder, check=True, stdout=theirs,
                       env=self.environment(**variables))
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 65536):
                text += part
        except OSError:  # Linux's end of a terminal
            pass
        os.close(ours)
        return text.decode()

    def test_a_terminal_has_its_width_and_colours(self):
        text = self.in_terminal(300, 150, COLUMNS="50")
        # 150 characters: 7 of label, 15 of ratio, 4 between; 3 ranks in each of 100 cells
        self.assertEqual(len(cells_of(text)), 100)
        self.assertIn("most loaded of 3 neighbouring ranks", text)
        self.assertIn("\x1b[38;5;", text)
        self.assertTrue(set(cells_of(text)) <= set(BLOCKS))

    def test_colours_can_be_refused(self):
        self.assertIn("\x1b", self.in_terminal(4, 80, NO_COLOR=""))
        self.assertNotIn("\x1b", self.in_terminal(4, 80, NO_COLOR="1"))
        self.assertNotIn("\x1b", self.in_terminal(4, 80, TERM="dumb"))

    def test_a_pipe_has_no_colours_and_takes_columns(self):
        self.assertEqual(len(cells_of(self.piped(300, COLUMNS="150"))), 100)
        for columns in ("", "0", "-5", "wide", "150x"):
            text = self.piped(300, COLUMNS=columns)
            self.assertEqual(len(cells_of(text)), 50)  # of 80: 54 characters, 6 ranks in each cell
            self.assertNotIn("\x1b", text)

    def test_the_locale_decides_about_blocks(self):
        for locale in ({"LC_ALL": "C"}, {"LC_ALL": "", "LC_CTYPE": "C", "LANG": "de_DE.UTF-8"},
                       {"LC_ALL": "", "LANG": "de_DE"}, {"LC_ALL": ""}):
            self.assertEqual(cells_of(self.piped(4, **locale)), "++++", locale)
        for locale in ({"LC_ALL": "", "LANG": "de_DE.utf8"},
                       {"LC_ALL": "", "LC_CTYPE": "en_US.UTF-8", "LANG": "C"}):
            self.assertEqual(cells_of(self.piped(4, **locale)), "▅▅▅▅", locale)

    def test_a_file_holds_the_same_without_colours(self):
        self.assertEqual(self.piped(4, "-o", "out.txt"), "")
        self.assertEqual((self.folder / "out.txt").read_text(encoding="utf-8"), self.piped(4))

    def test_takes_the_place_of_a_table(self):
        for arguments in (("--format", "json"), ("--view", "ranks"), ("--sort", "std"),
                          ("--top", "1"), ("--digits", "2")):
            result = subprocess.run(self.command(4, *arguments), cwd=self.folder, check=False,
                                    capture_output=True, encoding="utf-8")
            self.assertEqual((result.returncode, result.stdout), (2, ""), arguments)
            self.assertIn("--heatmap", result.stderr)
        # the page has a table
        self.assertIn("▅▅▅▅", self.piped(4, "--view", "layers", "--html", "page.html"))


if __name__ == "__main__":
    unittest.main()
