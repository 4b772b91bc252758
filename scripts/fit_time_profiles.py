#!/usr/bin/env python3
"""Fits the built-in time profiles and says how near they come to what was measured.

    scripts/fit_time_profiles.py TOOLS_FOLDER [TABLES_FOLDER] [--check | --svg FILE]

TABLES_FOLDER holds tables of ai-dynamo/aiconfigurator (Apache-2.0), by default those of
../shared/data/moe-latency beside the checkout; without them nothing is done (exit code 77). A profile
is fitted to the rows `uniform` of a GPU's decode table alone, by `eplb-report --fit_time_profile`, and
then tried on all others. --check only compares the profiles with the built-in ones;
--svg draws the decode tables' times beside the model's.
"""

import argparse
import csv
import json
import math
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "data" / "models" / "deepseek-r1"  # has the shape of the experts that were measured
SKIPPED = 77
DECODE = {"h100": "sglang-0.5.10-generation-h100_sxm.csv", "h200": "sglang-0.5.10-generation-h200_sxm.csv",
          "b200": "sglang-0.5.10-generation-b200_sxm.csv", "gb200": "sglang-0.5.10-generation-gb200.csv"}
PREFILL = {gpu: name.replace("generation", "context") for gpu, name in DECODE.items()}
TRTLLM = "trtllm-1.3.0rc10-h200_sxm.csv"
ALPHAS = ("0.6", "0.8", "1.01", "1.02", "1.2")
NUM_DRAWS = 20


class Row:
    """A measurement: num_tokens of all ranks together."""

    def __init__(self, cells):
        self.num_tokens, self.top_k = int(cells["num_tokens"]), int(cells["topk"])
        self.num_experts, self.ep_size = int(cells["num_experts"]), int(cells["moe_ep_size"])
        self.num_slots = int(cells.get("num_slots", self.num_experts))
        self.rank_tokens = int(cells.get("rank0_num_tokens", 0))
        self.distribution = cells["distribution"]
        self.time_us = float(cells["latency_us"])
        assert cells["moe_dtype"] == "fp8_block"
        assert (cells["hidden_size"], cells["inter_size"]) == ("7168", "2048")

    @property
    def slots_per_rank(self):
        return self.num_slots // self.ep_size

    @property
    def rows_per_slot(self):
        return self.num_tokens * self.top_k / self.num_slots


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [Row(cells) for cells in csv.DictReader(file)]


def fitted(tools, gpu, rows):
    """The profile, and what eplb-report says of it."""
    with tempfile.TemporaryDirectory() as folder:
        table = pathlib.Path(folder) / f"{gpu}.csv"
        table.write_text("rows,experts,time_us\n" + "".join(
            f"{row.rows_per_slot * row.slots_per_rank:.17g},{row.slots_per_rank},{row.time_us}\n"
            for row in rows), encoding="utf-8")
        result = subprocess.run([tools / "eplb-report", "--fit_time_profile", table, "--model_config", MODEL],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", check=True)
    return json.loads(result.stdout), result.stderr


class Cost:
    """T = t0 + sum over slots of max(w, c n), in microseconds, for the experts of MODEL."""

    def __init__(self, profile):
        config = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
        weights = 3 * config["hidden_size"] * config["moe_intermediate_size"]
        self.t0 = profile["t0_us"]
        self.w = weights * (1 + 4 / 128**2) / profile["bytes_per_second"] * 1e6
        self.c = 2 * weights / profile["flop_per_second"] * 1e6

    def time(self, rows):
        return self.t0 + sum(max(self.w * min(n, 1), self.c * n) for n in rows)


def power_law_rows(row, alpha, numbers):
    """Rows of each expert of the fullest rank, as the tables' collector has them: shares of a power
    law, rounded to whole tokens, none above the number of tokens; what is missing or too much goes to
    the ranks in turn, there to the expert with fewest or from the one with most."""
    low, high = (1, 0.8 * row.num_tokens) if row.num_tokens * row.top_k > row.num_experts else (0.01, 2)
    beta = 1 - alpha
    shares = [((high**beta - low**beta) * numbers.random() + low**beta) ** (1 / beta)
              for _ in range(row.num_experts)]
    target = row.num_tokens * row.top_k
    scale = target / sum(shares)
    counts = [min(round(share * scale), row.num_tokens) for share in shares]
    width = row.num_experts // row.ep_size
    ranks = [counts[first:first + width] for first in range(0, row.num_experts, width)]
    missing = target - sum(counts)
    while missing != 0:
        for rank in ranks:
            if missing > 0 and min(rank) < row.num_tokens:
                rank[rank.index(min(rank))] += 1
                missing -= 1
            elif missing < 0 < max(rank):
                rank[rank.index(max(rank))] -= 1
                missing += 1
    return max(ranks, key=sum)


def error(model, measured):
    return model / measured - 1


def uniform_error(cost, row):
    return error(cost.time([row.rows_per_slot] * row.slots_per_rank), row.time_us)


def skewed_error(cost, row, numbers):
    alpha = float(row.distribution.removeprefix("power_law_"))
    times = [cost.time(power_law_rows(row, alpha, numbers)) for _ in range(NUM_DRAWS)]
    return error(statistics.mean(times), row.time_us)


def rms(errors):
    return math.sqrt(statistics.mean(e * e for e in errors))


def median_size(errors):
    return statistics.median(abs(e) for e in errors)


def percent(value):
    return f"{100 * value:.1f} %"


def is_fitted_to(row):
    # below a token for each expert some experts have none, and which is not said
    return row.distribution == "uniform" and row.rows_per_slot >= 1


def check(tools, folder):
    """Exit code 1 where a built-in profile is not what its table gives."""
    source = (ROOT / "lib" / "time" / "time_profile.cpp").read_text(encoding="utf-8")
    stale = [line for gpu, name in DECODE.items()
             if (line := source_line(gpu, name, fitted(tools, gpu, filter(is_fitted_to, read(folder / name)))[0]))
             not in "".join(source.split())]
    print("\n".join(f"not in lib/time/time_profile.cpp: {line}" for line in stale) or "built-in profiles are fitted")
    return 1 if stale else 0


def source_line(gpu, name, profile):
    """Without spaces, which a formatter sets."""
    rates = ",".join(f"{profile[key]:.4e}".replace("e+", "e")
                     for key in ("bytes_per_second", "flop_per_second"))
    return f'decode_profile("{gpu}","{name}",{profile["t0_us"]:.2f},{rates},{profile["fit_rms"]:.4f})'


def print_fits(tools, folder):
    print("Fitted to the rows `uniform` of decode with a token or more for each expert; errors are "
          "(model - measured) / measured,\non skewed rows their median size.\n")
    columns = ["t0 us", "w us", "c us/row", "knee rows", "TB/s", "TFLOP/s", "rows", "rms", "most"]
    print("       " + "".join(f"{name:>10}" for name in columns) +
          "".join(f"{'a ' + alpha:>9}" for alpha in ALPHAS))
    costs = {}
    for gpu, name in DECODE.items():
        rows = read(folder / name)
        uniform = [row for row in rows if is_fitted_to(row)]
        profile, _ = fitted(tools, gpu, uniform)
        cost = costs[gpu] = Cost(profile)
        errors = [uniform_error(cost, row) for row in uniform]
        cells = [f"{cost.t0:.1f}", f"{cost.w:.2f}", f"{cost.c:.4f}", f"{cost.w / cost.c:.0f}",
                 f"{profile['bytes_per_second'] / 1e12:.2f}", f"{profile['flop_per_second'] / 1e12:.0f}",
                 str(len(uniform)), percent(rms(errors)), percent(max(map(abs, errors)))]
        line = f"{gpu:7}" + "".join(f"{cell:>10}" for cell in cells)
        numbers = random.Random(1)
        for alpha in ALPHAS:
            skewed = [skewed_error(cost, row, numbers) for row in rows
                      if row.distribution == f"power_law_{alpha}" and row.rows_per_slot >= 1]
            line += f"{percent(median_size(skewed)) if skewed else 'no rows':>9}"
        print(line)
        print("        " + source_line(gpu, name, profile))
    return costs


def print_few_tokens(costs, folder):
    print("\nRows that were not looked at above, with less than a token for each expert (which experts "
          "have one is not said;\nthe model takes each to have its share):\n")
    for gpu, name in DECODE.items():
        errors = [uniform_error(costs[gpu], row) for row in read(folder / name)
                  if row.distribution == "uniform" and row.rows_per_slot < 1]
        print(f"{gpu:7} uniform, {len(errors)} rows: median error {percent(median_size(errors))}")


def print_prefill(costs, folder):
    print("\nPrefill (context) tables, another kernel and harness: measured / model, uniform rows, by "
          "rows of a rank\n")
    for gpu, name in PREFILL.items():
        rows = [row for row in read(folder / name) if row.distribution == "uniform"]
        bins = {}
        for row in rows:
            n = row.rows_per_slot * row.slots_per_rank
            size = "below 1k" if n < 1024 else "1k to 16k" if n < 16384 else "16k and more"
            bins.setdefault(size, []).append(1 / (1 + uniform_error(costs[gpu], row)))
        least = min(row.time_us for row in rows)
        print(f"{gpu:7} never below {least:.0f} us; " + "; ".join(
            f"{size}: {statistics.median(bins[size]):.2f}x (median of {len(bins[size])})"
            for size in ("below 1k", "1k to 16k", "16k and more") if size in bins))


def print_ratios(label, ratios):
    print(f"{label}: {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rows)")


def print_trtllm(tools, cost, folder):
    rows = [row for row in read(folder / TRTLLM) if row.num_tokens >= 256]
    numbers = random.Random(2)
    print("\nTensorRT-LLM 1.3.0rc10 on an H200: measured / model with the profile h200, batches of 256 "
          "tokens and more\n")
    for alpha in ("1.01", "1.2"):
        for low, high, size in ((0, 16, "below 16"), (16, 128, "16 to 128"), (128, 1e9, "128 and more")):
            print_ratios(f"alpha {alpha}, {size} rows per expert", [
                1 / (1 + skewed_error(cost, row, numbers)) for row in rows
                if row.distribution == f"power_law_{alpha}" and low <= row.rows_per_slot < high])
    # one expert of many outweighs a rank at more ranks, which no placement without replicas evens out
    balanced = [row for row in rows if row.distribution == "power_law_1.01_eplb" and row.ep_size <= 16]
    print("\nits own fit, to balanced rows (alpha 1.01, 256 slots, at most 16 ranks), taken as uniform")
    profile, said = fitted(tools, "trtllm", [row for row in balanced if row.num_slots == 256])
    print(said.replace("eplb-report: ", "  ").rstrip())
    own = Cost(profile)
    for slots in (256, 288):
        print_ratios(f"{slots} slots, measured / own fit", [
            1 / (1 + uniform_error(own, row)) for row in balanced if row.num_slots == slots])
    for ep_size in (16, 32):
        for tokens in (1024, 4096, 16384):
            times = {row.num_slots: row.time_us for row in rows
                     if row.distribution == "power_law_1.01_eplb" and row.ep_size == ep_size
                     and row.num_tokens == tokens}
            print(f"{ep_size} ranks, {tokens} tokens: {times[256]:.0f} us with 256 slots, {times[288]:.0f} with 288")


def drawn_points(cost, rows):
    """Model and measured time, and whether the row is skewed."""
    numbers = random.Random(1)
    for row in rows:
        if row.rows_per_slot < 1:
            continue
        off = uniform_error(cost, row) if row.distribution == "uniform" else skewed_error(cost, row, numbers)
        yield row.time_us * (1 + off), row.time_us, row.distribution != "uniform"


def draw(tools, folder):
    """Four panels of measured over model time, both axes logarithmic."""
    size, gap, left, top, low, high = 200, 28, 46, 34, 20, 4000
    width, height = left + 4 * (size + gap), top + size + 54

    def place(time):
        return size * math.log(time / low) / math.log(high / low)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="sans-serif" font-size="11">',
        "<title>Measured times of decode kernels over the model's, four GPUs</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for panel, (gpu, name) in enumerate(DECODE.items()):
        rows = read(folder / name)
        cost = Cost(fitted(tools, gpu, filter(is_fitted_to, rows))[0])
        x0 = left + panel * (size + gap)
        lines.append(f'<g transform="translate({x0} {top})">')
        lines.append(f'<text x="{size / 2}" y="-12" text-anchor="middle" font-weight="bold">{gpu.upper()}</text>')
        lines.append(f'<rect width="{size}" height="{size}" fill="none" stroke="#999"/>')
        for tick in (30, 100, 300, 1000, 3000):
            at = place(tick)
            lines.append(f'<path d="M{at:.1f} 0v{size}M0 {size - at:.1f}h{size}" stroke="#e4e4e4"/>')
            lines.append(f'<text x="{at:.1f}" y="{size + 14}" text-anchor="middle">{tick}</text>')
            if panel == 0:
                lines.append(f'<text x="-5" y="{size - at + 4:.1f}" text-anchor="end">{tick}</text>')
        lines.append(f'<path d="M0 {size}L{size} 0" stroke="#555"/>')
        for model, measured, is_skewed in sorted(drawn_points(cost, rows), key=lambda point: point[2]):
            lines.append(f'<circle cx="{place(model):.1f}" cy="{size - place(measured):.1f}" r="2" '
                         f'fill="{"#d9730d" if is_skewed else "#1f6feb"}" fill-opacity="0.6"/>')
        lines.append("</g>")
    middle, foot = left + 2 * (size + gap), height - 8
    lines.append(f'<text x="{middle}" y="{foot - 16}" text-anchor="middle">model, us (up: measured, us)</text>')
    lines.append(f'<circle cx="{middle - 190}" cy="{foot - 4}" r="4" fill="#1f6feb"/>'
                 f'<text x="{middle - 182}" y="{foot}">uniform load, fitted to</text>'
                 f'<circle cx="{middle + 10}" cy="{foot - 4}" r="4" fill="#d9730d"/>'
                 f'<text x="{middle + 18}" y="{foot}">skewed load, not fitted to (H100, H200)</text>')
    return "\n".join(lines) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("tables", type=pathlib.Path, nargs="?",
                        default=ROOT.parent / "shared" / "data" / "moe-latency")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--svg", type=pathlib.Path)
    arguments = parser.parse_args()
    if not arguments.tables.is_dir():
        print(f"skipped: no tables in {arguments.tables}")
        return SKIPPED
    tools = arguments.tools.resolve()
    if arguments.check:
        return check(tools, arguments.tables)
    if arguments.svg:
        arguments.svg.write_text(draw(tools, arguments.tables), encoding="utf-8")
        return 0
    costs = print_fits(tools, arguments.tables)
    print_few_tokens(costs, arguments.tables)
    print_prefill(costs, arguments.tables)
    print_trtllm(tools, costs["h200"], arguments.tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
