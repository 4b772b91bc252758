#!/usr/bin/env python3
"""Writes tests/data/placement/optimal_split.json: the least load of the hottest rank when tokens may
be divided among the replicas of their expert at will, by scipy's linear programming (HiGHS)."""

import json
import pathlib
import random

import numpy
import scipy.optimize

FILE = (pathlib.Path(__file__).resolve().parent /
        "optimal_split.json")


def least_max_load(load, expert_ids, ep_size, slots_per_rank):
    """Variables: the tokens of each (expert, rank) pair that has a replica, and the maximum."""
    pairs = sorted({(expert, slot // slots_per_rank) for slot, expert in enumerate(expert_ids)})
    cost = numpy.zeros(len(pairs) + 1)
    cost[-1] = 1
    all_placed = numpy.zeros((len(load), len(pairs) + 1))
    below_maximum = numpy.zeros((ep_size, len(pairs) + 1))
    below_maximum[:, -1] = -1
    for i, (expert, rank) in enumerate(pairs):
        all_placed[expert, i] = 1
        below_maximum[rank, i] = 1
    result = scipy.optimize.linprog(cost, A_ub=below_maximum, b_ub=numpy.zeros(ep_size),
                                    A_eq=all_placed, b_eq=load, method="highs")
    assert result.success
    return result.fun


def example(rng, num_experts, ep_size, slots_per_rank):
    load = [int(20 * rng.paretovariate(1.2)) for _ in range(num_experts)]
    num_slots = ep_size * slots_per_rank
    # hot experts get the spare slots, as a placement would give them, but of other loads
    weights = [rng.paretovariate(1.2) for _ in range(num_experts)]
    expert_ids = list(range(num_experts))
    expert_ids += rng.choices(range(num_experts), weights, k=num_slots - num_experts)
    rng.shuffle(expert_ids)
    return {"ep_size": ep_size, "slots_per_rank": slots_per_rank, "expert_ids": expert_ids,
            "load": load, "max_load": least_max_load(load, expert_ids, ep_size, slots_per_rank)}


def main():
    rng = random.Random(5)
    shapes = [(16, 4, 6), (32, 8, 5), (64, 8, 9), (64, 16, 8), (96, 12, 12)]
    examples = [example(rng, *shape) for shape in shapes for _ in range(5)]
    FILE.write_text("[\n" + ",\n".join(map(json.dumps, examples)) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
