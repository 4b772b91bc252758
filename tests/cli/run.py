#!/usr/bin/env python3
"""Runs a script of tests/cli in a folder of its own and compares what it prints with NAME.expected.

In a script, `run COMMAND…` prints the command, its output and, unless it is 0, its exit code. What
differs between machines, times and rounding, is replaced before the comparison. With --accept the expectation is rewritten and
the test counts as skipped, never as passed.
"""

import argparse
import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

PRELUDE = r"""
run() {
    printf '$ %s\n' "$*"
    eval "$*" 2>&1
    local code=$?
    [ $code -eq 0 ] || printf '[exit %d]\n' $code
    return 0
}
"""

SKIPPED = 77


def normalized(text):
    text = re.sub(r" in \d+\.\d s", " in TIME", text)
    # what a synthetic model routes where is no other program's word: only that it is said
    text = re.sub(r"(?m)(^eplb-collect:.* ratio )\d\.\d+(, worst layer )\d+: \d\.\d+", r"\1R\2L: R", text)
    text = re.sub(r"(?m)(^eplb-collect: iterations .* ratio )\d\.\d+$", r"\1R", text)
    text = re.sub(r"(?m)(^eplb-collect: cycle.* ratio )\d\.\d+, \d+( slots moved) \(.*\)", r"\1R, N\2", text)
    text = re.sub(r"(direct evaluation) \d\.\de-\d+", r"\1 SMALL", text)
    # rates, times and memory of a checkpoint's run
    text = re.sub(r"[\d.]+ .B (of memory, about) .*", r"SIZE \1 TIME", text)
    text = re.sub(r"(?m)^(memory:  ) .*", r"\1 SIZE", text)
    text = re.sub(r"(?m)^(time:     about|on a GPU: about) .*", r"\1 TIME", text)
    text = re.sub(r"(?m)^(eplb-collect: .* GB of weights), .*", r"\1, …", text)
    return re.sub(r"time in .*", "time in …", text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("script", type=pathlib.Path)
    parser.add_argument("--tools", type=pathlib.Path, required=True, help="folder of the programs")
    parser.add_argument("--accept", action="store_true")
    arguments = parser.parse_args()
    script = arguments.script.resolve()
    accept = arguments.accept or "EPLB_ACCEPT" in os.environ

    environment = {key: value for key, value in os.environ.items()
                   if not key.startswith("EXPERT_STATISTIC")}
    environment["PATH"] = f"{arguments.tools.resolve()}{os.pathsep}{environment['PATH']}"
    environment["SOURCE"] = str(script.parent.parent.parent)
    environment["LC_ALL"] = "C.UTF-8"
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            ["bash", "-c", PRELUDE + script.read_text(encoding="utf-8")], cwd=folder,
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False)
    output = normalized(result.stdout.decode("utf-8", "replace"))
    output = output.replace(environment["SOURCE"], "SOURCE")

    expected_path = script.with_suffix(".expected")
    if accept:
        expected_path.write_text(output, encoding="utf-8")
        return SKIPPED
    expected = expected_path.read_text(encoding="utf-8")
    sys.stdout.writelines(difflib.unified_diff(
        expected.splitlines(True), output.splitlines(True), str(expected_path), "output"))
    return 0 if output == expected else 1


if __name__ == "__main__":
    sys.exit(main())
