#!/usr/bin/env python3
"""Says where the time of build folders went, and closes with what their tests came to.

usage: test_summary.py FOLDER…

In each folder: meson-logs/seconds, lines "setup|build|tests BEGIN END" of the seconds since 1970;
.ninja_log; meson-logs/testlog.json. What ninja did not build anew does not count.
"""

import collections
import json
import os
import pathlib
import sys


def phases(folder):
    lines = (folder / "meson-logs" / "seconds").read_text(encoding="utf-8").splitlines()
    return {name: (float(begin), float(end)) for name, begin, end in map(str.split, lines)}


def built(folder, since):
    """{output: seconds} of what ninja made since then."""
    seconds = {}
    for line in (folder / ".ninja_log").read_text(encoding="utf-8").splitlines()[1:]:
        begin, end, modified, output, _ = line.split("\t")
        if int(modified) / 1e9 >= since:
            seconds[output] = (int(end) - int(begin)) / 1000
    return seconds


def most(seconds, count):
    ranked = sorted(seconds.items(), key=lambda item: -item[1])[:count]
    return ", ".join(f"{name} {value:.0f}" for name, value in ranked)


def main():
    results = []
    print(f"\nwhere the time goes, in seconds on {len(os.sched_getaffinity(0))} processors")
    for folder in map(pathlib.Path, sys.argv[1:]):
        times = phases(folder)
        with open(folder / "meson-logs" / "testlog.json", encoding="utf-8") as log:
            tests = [json.loads(line) for line in log]
        results += [test["result"] for test in tests]
        outputs = built(folder, times["build"][0])
        targets = collections.Counter()
        for output, seconds in outputs.items():
            compiles = output.endswith(".o")
            targets[output.split(".p/")[0] if compiles else "links and the rest"] += seconds
        print(f"{folder}:", ", ".join(f"{name} {end - begin:.0f}"
                                     for name, (begin, end) in times.items()))
        for title, of in (("  compiling by target", targets),
                          ("  slowest to build", {pathlib.Path(name).name: value
                                                  for name, value in outputs.items()}),
                          ("  slowest tests", {test["name"].split(" / ")[-1]: test["duration"]
                                               for test in tests})):
            print(f"{title}: {most(of, 12 if of is targets else 5)}")
    passed, skipped = results.count("OK"), results.count("SKIP")
    print(f"{passed} passed, {len(results) - passed - skipped} failed, {skipped} skipped")


if __name__ == "__main__":
    main()
