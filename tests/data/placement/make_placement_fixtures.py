#!/usr/bin/env python3
"""Writes tests/data/placement/*.json: inputs and expected outputs of the placement algorithms.

greedy.json    from the oracle in this file: the published rules of TensorRT-LLM's doReplication and
               doPlacement, spelled out the slow way
deepseek.json  from DeepSeek's own program: pass --eplb, the path of eplb.py from a checkout of
               deepseek-ai/EPLB. Its sorts are made stable first, since newer versions of torch
               leave the order of equal loads to the processor.
"""

import argparse
import importlib.util
import json
import pathlib
import random

import numpy

DATA = pathlib.Path(__file__).resolve().parent


# ------------------------------------------------------------------------------------------ loads


def skewed(rng, num_experts, scale):
    """Long-tailed counts, as routers give."""
    return [int(scale * rng.paretovariate(1.3)) for _ in range(num_experts)]


def loads(rng, kind, num_experts):
    if kind == "ties":
        return [rng.randrange(4) for _ in range(num_experts)]
    if kind == "equal":
        return [7] * num_experts
    if kind == "zeros":
        return [0] * num_experts
    if kind == "one_hot":
        load = [0] * num_experts
        load[rng.randrange(num_experts)] = 1000
        return load
    if kind == "mostly_zero":
        return [rng.choice([0, 0, 0, 5, 9, 12]) for _ in range(num_experts)]
    if kind == "small":
        return [rng.randrange(200) for _ in range(num_experts)]
    if kind == "large":  # above 2^24: float32 rounds
        return [rng.randrange(1 << 31) for _ in range(num_experts)]
    if kind == "fractions":
        return [rng.randrange(1000) / 8 for _ in range(num_experts)]
    return skewed(rng, num_experts, 20)


KINDS = [
    "skewed",
    "small",
    "ties",
    "equal",
    "zeros",
    "one_hot",
    "mostly_zero",
    "large",
    "fractions",
]


# ----------------------------------------------------------------------------------------- greedy


def replicate(load, num_slots):
    """Every slot beyond one per expert to the largest load / replicas; ties to the higher id."""
    num_experts = len(load)
    if num_slots == num_experts or sum(float(x) for x in load) == 0:
        return [
            num_slots // num_experts + (expert < num_slots % num_experts)
            for expert in range(num_experts)
        ]
    counts = [1] * num_experts
    for _ in range(num_slots - num_experts):
        counts[max(range(num_experts), key=lambda e: (float(load[e]) / counts[e], e))] += 1
    return counts


def pack(load, counts, ep_size, slots_per_rank):
    """Largest replica first (ties: lower expert) to the least loaded rank (ties: lower rank)."""
    replicas = [
        (float(load[expert]) / count, expert)
        for expert, count in enumerate(counts)
        for _ in range(count)
    ]
    ranks = [[] for _ in range(ep_size)]
    rank_loads = [0.0] * ep_size
    for share, expert in sorted(replicas, key=lambda replica: (-replica[0], replica[1])):
        free = [rank for rank in range(ep_size) if len(ranks[rank]) < slots_per_rank]
        target = min(free, key=lambda rank: (rank_loads[rank], rank))
        ranks[target].append(expert)
        rank_loads[target] += share
    return [expert for rank in ranks for expert in rank]


def greedy_case(rng, kind, num_experts, ep_size, num_slots):
    load = loads(rng, kind, num_experts)
    rounded = [numpy.float32(x) for x in load]
    counts = replicate(rounded, num_slots)
    return {
        "kind": kind,
        "ep_size": ep_size,
        "num_slots": num_slots,
        "load": load,
        "replica_count": counts,
        "expert_ids": pack(rounded, counts, ep_size, num_slots // ep_size),
    }


def greedy_cases():
    rng = random.Random(20250601)
    for kind in KINDS:
        for _ in range(25):
            num_experts = rng.randrange(1, 17)
            ep_size = rng.randrange(1, 7)
            slots_per_rank = -(-num_experts // ep_size) + rng.randrange(4)
            yield greedy_case(rng, kind, num_experts, ep_size, ep_size * slots_per_rank)
        for shape in [(64, 8, 64), (64, 8, 72), (72, 8, 80), (128, 16, 256)]:
            yield greedy_case(rng, kind, *shape)
    for kind in ["skewed", "large", "ties"]:
        for ep_size, num_slots in [(32, 256), (36, 288), (32, 320), (72, 288)]:
            yield greedy_case(rng, kind, 256, ep_size, num_slots)


# --------------------------------------------------------------------------------------- deepseek


def load_upstream(path):
    import torch

    spec = importlib.util.spec_from_file_location("upstream_eplb", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def stable_sort(tensor, dim=-1, descending=False):
        return torch.sort(tensor, dim=dim, descending=descending, stable=True)

    torch.Tensor.sort = stable_sort
    return module


def deepseek_case(upstream, kind, load, ep_size, num_slots, num_nodes, num_groups):
    import torch

    weight = torch.tensor(load, dtype=torch.float64).float()
    slots, _, _ = upstream.rebalance_experts(weight, num_slots, num_groups, num_nodes, ep_size)
    return {
        "kind": kind,
        "ep_size": ep_size,
        "num_slots": num_slots,
        "num_nodes": num_nodes,
        "num_groups": num_groups,
        "load": load,
        "expert_ids": slots.tolist(),
    }


README_LOAD = [
    [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
    [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
]

# num_experts, ep_size, num_slots, num_nodes, num_groups; groups that nodes do not divide: global
SHAPES = [
    (4, 2, 4, 1, 1),
    (8, 2, 8, 2, 4),
    (8, 4, 12, 2, 2),
    (8, 8, 16, 2, 8),
    (12, 4, 16, 2, 4),
    (12, 12, 24, 3, 6),
    (12, 6, 12, 3, 4),
    (16, 4, 20, 4, 4),
    (16, 16, 16, 2, 8),
    (16, 8, 32, 4, 2),
    (64, 8, 64, 1, 1),
    (64, 8, 72, 2, 8),
    (64, 8, 80, 4, 4),
    (64, 16, 128, 2, 8),
    (64, 8, 72, 8, 1),
]


def deepseek_cases(upstream):
    rng = random.Random(20250602)
    yield deepseek_case(upstream, "readme hierarchical", README_LOAD, 8, 16, 2, 4)
    yield deepseek_case(upstream, "readme global", README_LOAD, 8, 16, 8, 4)
    for kind in KINDS:
        for num_experts, *shape in SHAPES:
            load = [loads(rng, kind, num_experts) for _ in range(2)]
            yield deepseek_case(upstream, kind, load, *shape)
    for kind, num_layers, *shape in [
        ("skewed", 58, 36, 288, 1, 1),
        ("small", 6, 32, 288, 4, 8),
        ("large", 6, 32, 320, 8, 8),
        ("ties", 6, 72, 288, 9, 8),
    ]:
        load = [loads(rng, kind, 256) for _ in range(num_layers)]
        yield deepseek_case(upstream, kind, load, *shape)


def write(name, made_with, cases):
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    path = DATA / name
    path.write_text('{"made_with":%s,"cases":[\n%s\n]}\n' % (json.dumps(made_with), lines))
    print(path.name, path.stat().st_size, "bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eplb", help="eplb.py of deepseek-ai/EPLB; without it: greedy.json only")
    arguments = parser.parse_args()
    DATA.mkdir(parents=True, exist_ok=True)
    write("greedy.json", "numpy " + numpy.__version__, greedy_cases())
    if arguments.eplb:
        import torch

        upstream = load_upstream(arguments.eplb)
        write("deepseek.json", "torch " + torch.__version__, deepseek_cases(upstream))


if __name__ == "__main__":
    main()
