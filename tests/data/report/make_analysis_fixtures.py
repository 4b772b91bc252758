#!/usr/bin/env python3
"""Writes tests/data/report/analysis.json: what numpy and scipy make of small random loads.

drift       loads [iterations][experts] of two recordings; cosine similarity and Jensen-Shannon
            distance (scipy) of their sums, and that of the two halves of the first, whose blocks of
            ceil(cube root of the iterations) are dealt in turn
intervals   values, a number of blocks and the expanded percentile interval (numpy.percentile at
            the tail that scipy's t and normal distributions give)
resampling  a series and the exact mean and variance of a moving-block resample's mean: blocks are
            drawn independently, so that the means and variances of their sums add up
"""

import json
import math
import pathlib

import numpy
from scipy import stats
from scipy.spatial import distance

PATH = pathlib.Path(__file__).resolve().parent / "analysis.json"


def block_length(num_iterations):
    return next(x for x in range(1, num_iterations + 1) if x**3 >= num_iterations)


def drift_case(random, num_first, num_second, num_experts):
    shares = random.dirichlet(numpy.full(num_experts, 0.7), 2)
    first = random.multinomial(200, shares[0], num_first)
    second = random.multinomial(300, shares[random.integers(2)], num_second)
    halves = [numpy.zeros(num_experts), numpy.zeros(num_experts)]
    length = block_length(num_first)
    for i, row in enumerate(first):
        halves[i // length % 2] += row
    a, b = first.sum(0), second.sum(0)
    return {
        "first": first.tolist(),
        "second": second.tolist(),
        "cosine": 1 - float(distance.cosine(a, b)),
        "js": float(distance.jensenshannon(a, b, base=2)),
        "js_within": float(distance.jensenshannon(*halves, base=2)),
        "tokens": [float(a.sum()), float(b.sum())],
        "tokens_of_halves": [float(half.sum()) for half in halves],
    }


def interval_case(random, num_blocks, num_values):
    values = random.gamma(2.0, 3.0, num_values)
    t = stats.t.ppf(0.975, num_blocks - 1)
    tail = stats.norm.cdf(-math.sqrt(num_blocks / (num_blocks - 1)) * t)
    low, high = numpy.percentile(values, [100 * tail, 100 * (1 - tail)])
    return {"values": values.tolist(), "num_blocks": num_blocks, "low": low, "high": high}


def resampling_case(random, num_iterations):
    series = numpy.cumsum(random.normal(size=num_iterations))
    length = block_length(num_iterations)
    num_whole = (num_iterations - 1) // length
    num_starts = num_iterations - length + 1
    mean = variance = 0.0
    for size in [length] * num_whole + [num_iterations - num_whole * length]:
        sums = numpy.array([series[start : start + size].sum() for start in range(num_starts)])
        mean += sums.mean() / num_iterations
        variance += sums.var() / num_iterations**2
    return {"series": series.tolist(), "mean": mean, "variance": variance}


def main():
    random = numpy.random.default_rng(20)
    fixture = {
        "drift": [drift_case(random, *shape) for shape in [(9, 12, 5), (30, 4, 16), (64, 64, 8)]],
        "intervals": [interval_case(random, k, n) for k, n in [(4, 150), (9, 80), (20, 200)]],
        "resampling": [resampling_case(random, n) for n in [8, 27, 50]],
    }
    PATH.write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
