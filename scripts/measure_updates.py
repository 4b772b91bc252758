#!/usr/bin/env python3
"""Prints what updates of few moves are worth, as a Markdown table.

A placement is fitted to one recording and in force; then traffic changes to that of another. The
update is fitted to the first half of the other one's iterations and measured on its second half,
with eplb-report's round robin of replicas. Needs the tools, in build/ or where --tools says.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(tool, *arguments):
    """Standard output, standard error."""
    result = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(result.stderr.strip())
    return result.stdout, result.stderr


def report(tools, recording, *arguments):
    return json.loads(run(tools / "eplb-report", recording, "--format", "json", *arguments)[0])


def mean_of(rows, key):
    return sum(row[key] for row in rows) / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="recording that the placement in force is fitted to")
    parser.add_argument("after", help="recording to update it to")
    parser.add_argument("--ep_size", type=int, required=True)
    parser.add_argument("--num_slots", type=int, required=True)
    parser.add_argument("--tools", type=pathlib.Path, default=ROOT / "build" / "tools")
    arguments = parser.parse_args()
    tools = arguments.tools
    gen = tools / "eplb-gen"

    whole = report(tools, arguments.after)
    middle = (whole["iter_start"] + whole["iter_stop"]) // 2
    num_slots = len(whole["rows"]) * arguments.num_slots

    with tempfile.TemporaryDirectory() as folder:
        current = pathlib.Path(folder) / "current.yaml"
        new = pathlib.Path(folder) / "new.yaml"
        deployment = ["--ep_size", arguments.ep_size, "--num_slots", arguments.num_slots]
        run(gen, arguments.before, *deployment, "-o", current)
        print("| moves | of the slots | fitted | predicted | outcome | seconds |")
        print("|---|---|---|---|---|---|")
        bounds = [0] + [num_slots * percent // 100 for percent in (1, 2, 5, 10, 20)] + [None]
        for bound in bounds:
            start = time.perf_counter()
            text, _ = run(gen, arguments.after, *deployment, "--iter_stop", middle,
                          "--current", current, "-o", new, "--report_path", "-",
                          "--format", "json", *([] if bound is None else ["--max_moves", bound]))
            seconds = time.perf_counter() - start
            layers = json.loads(text)["rows"]
            moves = sum(row["moves"] for row in layers)
            outcome = report(tools, arguments.after, "--iter_start", middle, "--ep_size",
                             arguments.ep_size, "--projection_eplb_config_path", new)["rows"]
            print(f"| {moves}{'' if bound is not None else ' (no bound)'} "
                  f"| {100 * moves / num_slots:.1f} % "
                  f"| {mean_of(layers, 'fitted'):.3f} | {mean_of(layers, 'predicted'):.3f} "
                  f"| {mean_of(outcome, 'imbalance_ratio'):.3f} | {seconds:.2f} |")


if __name__ == "__main__":
    main()
