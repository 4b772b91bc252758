#!/usr/bin/env python3
"""The man pages and completions of data/ against the tools themselves: test_help_pages.py TOOLS_FOLDER"""

import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import termios
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOLS_FOLDER = pathlib.Path(sys.argv.pop(1)).resolve()
TOOLS = ("eplb-collect", "eplb-report", "eplb-gen")

# prints what completion offers for the last of the words
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
"_${1//-/_}"
((${#COMPREPLY[@]} == 0)) || printf '%s\\n' "${COMPREPLY[@]}"
"""


def run(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          encoding="utf-8", check=False, **options)


def offers(tool, *words):
    """What bash offers after these words, without any helper of the package bash-completion."""
    result = run("bash", "--norc", "-c", COMPLETE, "bash",
                 str(ROOT / "data" / "completions" / "bash" / tool), tool, *words)
    assert result.stderr == "", result.stderr
    return result.stdout.split()


def help_of(tool):
    return run(str(TOOLS_FOLDER / tool), "--help").stdout


def option_lines(tool):
    """(names, value) of each option."""
    lines = re.findall(r"(?m)^  (-.*?)(?:  .*)?$", help_of(tool))
    return [(re.findall(r"(?<!\w)--?\w[\w-]*", line), (re.findall(r" ([A-Z][A-Z-]*)", line) or [""])[0])
            for line in lines]


def widths(tool, num_columns):
    """Lengths of the lines of the options in a terminal of so many columns."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, num_columns))
    with subprocess.Popen([str(TOOLS_FOLDER / tool), "--help"], stdout=terminal) as process:
        os.close(terminal)
        text = b""
        try:
            while part := os.read(controller, 65536):
                text += part
        except OSError:  # the terminal is closed
            pass
        process.wait()
    os.close(controller)
    text = text.decode().replace("\r", "")
    return [len(line) for line in text[:text.index("\n\nOptions may be")].split("\n")]


class Help(unittest.TestCase):
    def test_is_as_wide_as_the_terminal_within_reason(self):
        for tool in TOOLS:
            for num_columns, least, most in ((20, 45, 60), (72, 60, 72), (100, 80, 100),
                                             (300, 100, 120)):
                widest = max(widths(tool, num_columns))
                self.assertTrue(least < widest <= most, f"{tool}: {widest} of {num_columns}")

    def test_is_80_wide_in_a_pipe(self):
        for tool in TOOLS:
            lines = help_of(tool).split("\n\nOptions may be")[0].split("\n")
            self.assertTrue(70 < max(map(len, lines)) <= 80)


class BashCompletion(unittest.TestCase):
    def test_every_flag_of_help_is_offered_and_no_other(self):
        for tool in TOOLS:
            names = [name for names, _ in option_lines(tool) for name in names]
            self.assertGreater(len(names), 20)
            self.assertEqual(sorted(offers(tool, "-")), sorted(names))
            self.assertEqual(sorted(offers(tool, "--")),
                             sorted(name for name in names if name.startswith("--")))

    def test_every_flag_that_is_offered_is_one(self):
        for tool in TOOLS:
            for flag in offers(tool, "--"):
                self.assertNotIn("unknown option", run(
                    str(TOOLS_FOLDER / tool), flag, "0", "--no_such_flag").stderr.replace(
                        "unknown option --no_such_flag", ""))

    def test_choices_are_those_that_the_tool_names_when_it_refuses_another(self):
        num_options = 0
        for tool in TOOLS:
            for names, value in option_lines(tool):
                if value != "NAME":
                    continue
                refusal = run(str(TOOLS_FOLDER / tool), names[-1], "no_such_name").stderr
                choices = re.search(r"(?:none of|there are) (.*)", refusal)
                self.assertIsNotNone(choices, refusal)
                self.assertEqual(offers(tool, names[-1], ""), choices[1].split(", "))
                num_options += 1
        self.assertGreaterEqual(num_options, 9)

    def test_words_are_completed(self):
        self.assertEqual(offers("eplb-report", "--form"), ["--format"])
        self.assertEqual(offers("eplb-report", "--format", "j"), ["json"])
        self.assertEqual(offers("eplb-report", "--format", "=", "j"), ["json"])
        self.assertEqual(offers("eplb-report", "--format", "="), ["text", "csv", "json", "md"])
        self.assertEqual(offers("eplb-report", "folder", "--per_expert", "--format", "c"), ["csv"])

    def test_hyphens_go_on_with_underscores(self):
        self.assertEqual(offers("eplb-gen", "--ep-s"), ["--ep_size"])
        self.assertEqual(offers("eplb-gen", "--ep_s"), ["--ep_size"])

    def test_files_and_numbers_are_left_to_others(self):
        self.assertEqual(offers("eplb-report", ""), [])
        self.assertEqual(offers("eplb-report", "--html", ""), [])
        self.assertEqual(offers("eplb-report", "--top", ""), [])
        self.assertEqual(offers("eplb-gen", "--ep-size", "3"), [])

    def test_scripts_are_clean(self):
        if shutil.which("shellcheck") is None:
            self.skipTest("no shellcheck")
        for tool in TOOLS:
            result = run("shellcheck", "-s", "bash", str(ROOT / "data/completions/bash" / tool))
            self.assertEqual(result.stdout, "")


class ZshCompletion(unittest.TestCase):
    def test_every_flag_of_help_is_offered_and_no_other(self):
        for tool in TOOLS:
            text = (ROOT / "data" / "completions" / "zsh" / f"_{tool}").read_text(encoding="utf-8")
            flags = re.findall(r"(?m)^    '(?:\*|\([^)]*\))?(--?[\w-]+)=?\[", text)
            self.assertEqual(sorted(flags),
                             sorted(name for names, _ in option_lines(tool) for name in names))

    def test_scripts_are_clean(self):
        if shutil.which("zsh") is None:
            self.skipTest("no zsh")
        for tool in TOOLS:
            result = run("zsh", "-n", str(ROOT / "data/completions/zsh" / f"_{tool}"))
            self.assertEqual((result.returncode, result.stderr), (0, ""))


class ManPages(unittest.TestCase):
    def rendered(self, tool):
        if shutil.which("groff") is None:
            self.skipTest("no groff")
        page = ROOT / "data" / "man" / f"{tool}.1"
        result = run("groff", "-ww", "-man", "-Tascii", "-P-c", "-rLL=100n", str(page))
        self.assertEqual(result.stderr, "")
        return re.sub(r".\x08", "", result.stdout)  # bold is overstruck

    def test_are_clean_and_say_what_help_says(self):
        for tool in TOOLS:
            words = self.rendered(tool).split()
            for word in help_of(tool).replace("Positionals:", "").split():
                # headings of help that stand there in another form
                if word in ("Usage:", "examples:", "environment:", "exit", "status:"):
                    continue
                self.assertIn(word.rstrip(":,."), {found.rstrip(":,.") for found in words})


class Check(unittest.TestCase):
    def check(self, folder):
        return run(sys.executable, str(folder / "scripts" / "make_help_pages.py"),
                   str(TOOLS_FOLDER), "--check")

    def test_a_stale_page_is_found_and_the_remedy_named(self):
        for stale in ("man/eplb-gen.1", "completions/bash/eplb-report",
                      "completions/zsh/_eplb-collect"):
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                for part in ("data/man", "data/completions"):
                    shutil.copytree(ROOT / part, folder / part)
                (folder / "scripts").mkdir()
                shutil.copy(ROOT / "scripts" / "make_help_pages.py", folder / "scripts")
                self.assertEqual(self.check(folder).returncode, 0)
                path = folder / "data" / stale
                text = path.read_text(encoding="utf-8")
                path.write_text(text.replace("ep_size", "ep_syze"), encoding="utf-8")
                self.assertNotEqual(path.read_text(encoding="utf-8"), text)
                result = self.check(folder)
                self.assertEqual(result.returncode, 1)
                self.assertIn("ep_syze", result.stdout)
                self.assertIn("scripts/make_help_pages.py build/tools", result.stderr)
                path.unlink()
                self.assertEqual(self.check(folder).returncode, 1)


if __name__ == "__main__":
    unittest.main()
