#!/usr/bin/env python3
"""Writes tests/data/report/*: what pandas prints, and statistics in exact arithmetic.

tables.json         frames of doubles (as repr) and, per frame, the text that pandas prints
mixed_tables.json   the same with columns of integers and of text
load_summary.json   loads [iterations][bins] and their mean, std and imbalance ratio, in fractions;
                    checked here against torch in float64
"""

import json
import math
import pathlib
import random
import statistics
from fractions import Fraction

import pandas
import torch

DATA = pathlib.Path(__file__).resolve().parent
HEADERS = ["mean", "std", "imbalance-ratio"]


# ----------------------------------------------------------------------------------------- tables


def upstream_text(index, columns):
    frame = pandas.DataFrame(dict(zip(HEADERS, columns)), index=index)
    return f"Load statistics:\n{frame.to_string()}\n"


def frame_case(columns, index=None):
    num_rows = len(columns[0])
    index = index or [*range(3, 2 + num_rows), "average"]
    return {
        "index": index,
        "columns": [["NaN" if math.isnan(x) else repr(x) for x in column] for column in columns],
        "text": upstream_text(index, columns),
    }


SPECIAL = [
    0.0,
    -0.0,
    1e-7,
    9.999999e-7,
    1e-6,
    1.0000001e-6,
    4.9e-7,
    5e-7,
    1e-5,
    0.1,
    0.5,
    1.0,
    1.5,
    -1.0,
    -0.25,
    10.0,
    100.5,
    1024.0,
    1024.123456789,
    99999.5,
    999999.0,
    999999.9999999,
    1e6,
    1000000.5,
    1000001.0,
    1234567.25,
    9999999.0,
    12345678.123456,
    123456789.0,
    1e7,
    1e15,
    1e16,
    1.7976931348623157e308,
    5e-324,
    2.5,
    0.0000005,
    0.1234565,
    0.1234575,
    float("nan"),
]


def random_value(rng):
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(SPECIAL)
    if kind == 1:
        return float(rng.randrange(5000))
    if kind == 2:
        return rng.randrange(100000) / 64
    if kind == 3:
        return round(rng.uniform(-100, 3000), rng.randrange(7))
    if kind == 4:
        return math.ldexp(rng.random(), rng.randrange(-30, 40))
    return rng.uniform(0, 4)


def frame_cases():
    rng = random.Random(20250603)
    for value in SPECIAL:
        yield frame_case([[value], [1.5], [value]])
        yield frame_case([[value, 1024.0], [value, 0.125], [0.0, value]])
    for num_rows in [1, 2, 3, 5, 9, 60]:
        yield frame_case([[0.0] * num_rows for _ in HEADERS])
    for _ in range(400):
        num_rows = rng.choice([1, 2, 3, 4, 6])
        yield frame_case([[random_value(rng) for _ in range(num_rows)] for _ in HEADERS])
    for magnitude in range(-9, 18):
        columns = [[rng.uniform(0.5, 9) * 10.0**magnitude for _ in range(4)] for _ in HEADERS]
        yield frame_case(columns)
    for num_rows in [59, 201]:  # 58 layers and the average; more than pandas shows by default
        columns = [[rng.uniform(0, scale) for _ in range(num_rows)] for scale in (1024, 500, 3)]
        yield frame_case(columns)
    yield frame_case([[1.0, 2.5], [1.0, 2.0], [0.1, 0.2]], index=[3, 12345])


def mixed_cases():
    frames = [
        {"rank": [3, 12, -4], "name": ["a", "longer", ""]},
        {"count": [0, 100000, 7], "load": [0.5, 1024.0, 3.25], "note": ["x", "a\tb", "ü"]},
        {"worst-rank": [1, 2, 1.5], "mixed": [1, 2.5, "none"], "text": ["", "b", "ccc"]},
        {"tiny": [1e-7, "", -1.5], "nan": [float("nan"), "x", 1e16], "huge": [1e16, "", 1e-7]},
        {"only-text": ["alpha", "b", "c"], "big": [10**15, -1, 0], "also": [1.25, "", 2.0]},
    ]
    for frame in frames:
        # object: the type of a text column would change with the version of pandas
        has_text = {key: any(isinstance(x, str) for x in frame[key]) for key in frame}
        columns = {
            key: pandas.Series(values, dtype=object if has_text[key] else None)
            for key, values in frame.items()
        }
        table = pandas.DataFrame(columns)
        table.index = [3, 10, "average"]
        yield {
            "index": [3, 10, "average"],
            "headers": list(frame),
            "columns": [["NaN" if x != x else x for x in column] for column in frame.values()],
            "text": table.to_string() + "\n",
        }


# ---------------------------------------------------------------------------------------- summary


def imbalance_ratio(bins):
    return max(bins) * len(bins) / sum(bins) - 1


def check_with_torch(case, bins):
    tensor = torch.tensor([[float(x) for x in row] for row in bins], dtype=torch.float64)
    mean = tensor.mean(-1)
    assert math.isclose(case["mean"], mean.mean().item(), rel_tol=1e-12)
    assert math.isclose(case["std"], tensor.std(-1).mean().item(), rel_tol=1e-9)
    ratio = (tensor.max(-1).values / mean - 1).mean().item()
    assert math.isclose(case["imbalance_ratio"], ratio, abs_tol=1e-12)


def summary_case(load):
    bins = [[Fraction(x) for x in row] for row in load if sum(row) > 0]
    case = {
        "load": load,
        "mean": float(statistics.mean(statistics.mean(row) for row in bins)),
        "std": statistics.mean(statistics.stdev(row) for row in bins),
        "imbalance_ratio": float(statistics.mean(imbalance_ratio(row) for row in bins)),
        "num_iterations": len(bins),
    }
    check_with_torch(case, bins)
    return case


def summary_cases():
    rng = random.Random(20250604)
    for num_iterations, num_bins in [(1, 2), (2, 4), (7, 8), (20, 36), (3, 288)]:
        for scale in [1, 10, 1000, 10**7]:
            yield summary_case(
                [[rng.randrange(9 * scale) for _ in range(num_bins)] for _ in range(num_iterations)]
            )
    # a large mean with little spread, where the sum of squares would lose everything
    yield summary_case([[10**9 + rng.randrange(3) for _ in range(32)] for _ in range(3)])
    yield summary_case([[1, 2, 3], [0, 0, 0], [9, 0, 0]])
    yield summary_case([[x / 3 for x in range(16)], [x / 7 for x in range(16)]])


def write(name, made_with, cases):
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    path = DATA / name
    path.write_text('{"made_with":%s,"cases":[\n%s\n]}\n' % (json.dumps(made_with), lines))
    print(path.name, path.stat().st_size, "bytes")


def main():
    DATA.mkdir(parents=True, exist_ok=True)
    write("tables.json", "pandas " + pandas.__version__, frame_cases())
    write("mixed_tables.json", "pandas " + pandas.__version__, mixed_cases())
    write("load_summary.json", "torch " + torch.__version__, summary_cases())


if __name__ == "__main__":
    main()
