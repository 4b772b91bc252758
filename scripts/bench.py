#!/usr/bin/env python3
"""Prints what the tools cost, as ratios within one run.

Needs a release build (scripts/quickstart.sh makes one in build/; the grouped experts also need its
tests) and 400 MB in the temporary folder.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHAPE = ["--ep_size", "32", "--num_iterations", "100", "--num_layers", "58", "--num_experts", "256"]


def private_memory_kib(pid):
    """Anonymous resident memory: mapped files aside."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            found = re.search(r"RssAnon:\s+(\d+)", status.read())
        return int(found.group(1)) if found else 0
    except OSError:
        return 0


def timed(command):
    start = time.perf_counter()
    subprocess.run(command, shell=isinstance(command, str), check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def peak_private_mib(command):
    """Sampled every half millisecond, in a run of its own so that sampling costs no time."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, private_memory_kib(process.pid))
            time.sleep(0.0005)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak / 1024


def report_commands(report, folder, config):
    """What is timed of eplb-report: name, arguments, and how often it reads the folder."""
    projected = ["--ep_size", "36", "--projection_eplb_config_path", config]
    views = [
        ("", [], 1),
        ("projected, replayed", projected, 1),
        ("projected, --equal_split", [*projected, "--equal_split"], 1),
        ("--per_expert", ["--per_expert"], 1),
        ("--view ranks, projected", ["--view", "ranks", *projected], 1),
        ("--view experts", ["--view", "experts"], 1),
        ("--view iterations, projected", ["--view", "iterations", *projected], 1),
        ("--view percentiles, projected", ["--view", "percentiles", *projected], 1),
        ("--view comparison, projected", ["--view", "comparison", *projected], 1),
        ("--view held_out, projected", ["--view", "held_out", *projected], 1),
        ("--view worth, projected", ["--view", "worth", *projected], 1),
        ("--view faults, projected", ["--view", "faults", *projected], 1),
        ("--view comparison, of two", ["--view", "comparison"], 2),
        ("--view drift", ["--view", "drift"], 2),
        ("--heatmap, projected", ["--heatmap", *projected], 1),
        ("--html, projected", ["--html", os.devnull, *projected], 1),
    ]
    return [(f"eplb-report {name}".rstrip(), [report, *[folder] * readings, *arguments], readings)
            for name, arguments, readings in views]


def bench_reading(tools, folder, runs):
    subprocess.run([sys.executable, ROOT / "scripts" / "make_statistics.py", folder, *SHAPE],
                   check=True, stdout=subprocess.DEVNULL)
    size = sum(path.stat().st_size for path in pathlib.Path(folder).iterdir())
    config = f"{folder}.yaml"
    generate = [tools / "eplb-gen", folder, "--algorithm", "greedy", "--ep_size", "36",
                "--num_slots", "288", "--output_path", config]
    subprocess.run(generate, check=True, stderr=subprocess.DEVNULL)
    commands = [*report_commands(tools / "eplb-report", folder, config),
                ("eplb-gen --algorithm greedy", generate, 1)]
    cat = f"cat {folder}/* > /dev/null"
    best = {name: float("inf") for name in ["cat", *(name for name, _, _ in commands)]}
    for _ in range(runs):  # interleaved: a slow moment of the machine hits all alike
        best["cat"] = min(best["cat"], timed(cat))
        for name, command, _ in commands:
            best[name] = min(best[name], timed(command))
    print(f"a folder of {size / 1e6:.0f} MB (32 ranks x 100 iterations x 58 layers x 256 experts), "
          f"best of {runs}:")
    print(f"  cat: {1000 * best['cat']:.0f} ms")
    for name, command, readings in commands:
        print(f"  {name}: {1000 * best[name]:.0f} ms, "
              f"{best[name] / best['cat'] / readings:.2f} x cat"
              f"{f' of {readings}' if readings > 1 else ''}, "
              f"{peak_private_mib(command):.0f} MiB private memory at most")
    os.unlink(config)


def bench_counting(tools, folder):
    run = subprocess.run([tools / "eplb-collect", "--iterations", "10",
                          "--expert_statistic_path", folder],
                         check=True, capture_output=True, text=True)
    share = re.search(r"count (\S+) %", run.stderr).group(1)
    print(f"eplb-collect, deepseek-r1 at 32 ranks x 128 tokens: counting and "
          f"recording take {share} % of the time")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    tools = arguments.build / "tools"
    with tempfile.TemporaryDirectory() as folder:
        bench_reading(tools, f"{folder}/statistics", arguments.runs)
        bench_counting(tools, f"{folder}/counted")
    experts = arguments.build / "tests" / "bench_grouped_mlp"
    if experts.exists():
        sys.stdout.flush()
        subprocess.run([experts], check=True)


if __name__ == "__main__":
    main()
