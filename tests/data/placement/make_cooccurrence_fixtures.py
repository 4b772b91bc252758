#!/usr/bin/env python3
"""Writes tests/data/placement/cooccurrence.json: inputs and expected outputs of packing by
cooccurrence, from the oracle in this file: the published rules of TensorRT-LLM's
do_placement_with_cooccurrence, spelled out the slow way, with whole sorts and every sum anew.

Where upstream leaves the order of equal keys to torch, the lower expert id goes first; the total
load is exact and rounded once to float32. A case in which upstream would fail since no replica is
left when it asks for the next one is marked "ran_out"; everything stands in a slot by then.
"""

import fractions
import json
import pathlib
import random
import struct

DATA = pathlib.Path(__file__).resolve().parent


def float32(x):
    """Nearest float32. One operation on float32 values done in double and rounded by this is the
    operation in float32, since double has more than twice the digits."""
    return struct.unpack("f", struct.pack("f", x))[0]


# ----------------------------------------------------------------------------------------- oracle


def descending(keys):
    """Ids by key; the sort is stable, so that equal keys leave the lower id first."""
    return sorted(range(len(keys)), key=lambda expert: -keys[expert])


class RanOut(Exception):
    pass


def next_expert(order, assigned, counts):
    for expert in order:
        if assigned[expert] < counts[expert]:
            return expert
    raise RanOut


def affinities(members, matrix):
    sums = []
    for other in range(len(matrix)):
        total = 0.0
        for member in members:
            total = float32(total + matrix[member][other])
        sums.append(total)
    return sums


def pack(load, counts, cooccurrence, ep_size, alpha):
    num_experts = len(load)
    slots_per_rank = sum(counts) // ep_size
    load = [float32(x) for x in load]
    matrix = [
        [-1e9 if a == b else float32(cooccurrence[a][b]) for b in range(num_experts)]
        for a in range(num_experts)
    ]
    share = [float32(x / count) for x, count in zip(load, counts)]
    base_order = descending(share)
    average = float32(float(sum(fractions.Fraction(x) for x in load))) / ep_size
    ranks = [[] for _ in range(ep_size)]
    rank_loads = [0.0] * ep_size
    assigned = [0] * num_experts

    def place(expert, rank):
        ranks[rank].append(expert)
        rank_loads[rank] += share[expert]
        assigned[expert] += 1

    ran_out = False
    try:
        for rank in range(ep_size):
            order = base_order
            while True:
                expert = next_expert(order, assigned, counts)
                if len(ranks[rank]) + 1 > slots_per_rank * alpha:
                    break
                if rank_loads[rank] + share[expert] > average * alpha:
                    break
                place(expert, rank)
                order = descending(affinities(ranks[rank], matrix))
    except RanOut:
        ran_out = True
    for expert in base_order:
        while assigned[expert] < counts[expert]:
            free = [rank for rank in range(ep_size) if len(ranks[rank]) < slots_per_rank]
            place(expert, min(free, key=lambda rank: (rank_loads[rank], rank)))
    return [expert for rank in ranks for expert in rank], ran_out


# ----------------------------------------------------------------------------------------- inputs


def replicate(rng, load, num_slots):
    """Extra replicas to the heaviest share, and one in five to anybody."""
    counts = [1] * len(load)
    experts = range(len(load))
    for _ in range(num_slots - len(load)):
        heaviest = max(experts, key=lambda expert: load[expert] / counts[expert])
        counts[rng.choice(experts) if rng.random() < 0.2 else heaviest] += 1
    return counts


def routed_pairs(rng, num_experts, num_tokens):
    """Pairs of tokens that mostly keep to experts of one topic; topics are of unequal weight."""
    top_k = min(num_experts, 2 + num_experts // 16)
    topic_of = [rng.randrange(1 + num_experts // 6) for _ in range(num_experts)]
    matrix = [[0] * num_experts for _ in range(num_experts)]
    for _ in range(num_tokens):
        topic = topic_of[rng.randrange(num_experts)]
        weight = [5 if topic_of[expert] == topic else 1 for expert in range(num_experts)]
        by_key = [(rng.random() ** (1 / weight[expert]), expert) for expert in range(num_experts)]
        chosen = [expert for _, expert in sorted(by_key, reverse=True)[:top_k]]
        for a in chosen:
            for b in chosen:
                matrix[a][b] += 1
    return matrix


def random_pairs(rng, num_experts, limit):
    matrix = [[0] * num_experts for _ in range(num_experts)]
    for a in range(num_experts):
        for b in range(a + 1):
            matrix[a][b] = matrix[b][a] = rng.randrange(limit)
    return matrix


def inputs(rng, kind, num_experts):
    """Load and cooccurrence of one layer."""
    if kind == "routed":
        matrix = routed_pairs(rng, num_experts, 12 * num_experts)
        return [matrix[expert][expert] for expert in range(num_experts)], matrix
    if kind == "ties":
        load = [rng.randrange(3) for _ in range(num_experts)]
        return load, random_pairs(rng, num_experts, 3)
    if kind == "equal":
        return [6] * num_experts, random_pairs(rng, num_experts, 50)
    if kind == "zeros":
        return [0] * num_experts, random_pairs(rng, num_experts, 1)
    if kind == "large":  # above 2^24: float32 rounds loads, entries and sums
        load = [rng.randrange(1 << 31) for _ in range(num_experts)]
        return load, random_pairs(rng, num_experts, 1 << 31)
    if kind == "fractions":
        load = [rng.randrange(1000) / 8 for _ in range(num_experts)]
        # not symmetric, which no recording is: tells rows from columns
        return load, [[rng.randrange(100) for _ in load] for _ in load]
    raise ValueError(kind)


def case(rng, kind, num_experts, ep_size, num_slots, alpha):
    load, matrix = inputs(rng, kind, num_experts)
    counts = replicate(rng, load, num_slots)
    expert_ids, ran_out = pack(load, counts, matrix, ep_size, alpha)
    return {
        "kind": kind,
        "ep_size": ep_size,
        "num_slots": num_slots,
        "alpha": alpha,
        "load": load,
        "replica_count": counts,
        "cooccurrence": [entry for row in matrix for entry in row],
        "expert_ids": expert_ids,
        "ran_out": ran_out,
    }


def cases():
    rng = random.Random(20250603)
    for kind in ["routed", "ties", "equal", "zeros", "large", "fractions"]:
        for alpha in [0, 0.3, 0.5, 0.8, 0.8, 0.8, 0.95, 1]:
            for _ in range(3):
                num_experts = rng.randrange(1, 13)
                ep_size = rng.randrange(1, 7)
                slots_per_rank = -(-num_experts // ep_size) + rng.randrange(4)
                yield case(rng, kind, num_experts, ep_size, ep_size * slots_per_rank, alpha)
    for kind in ["routed", "large"]:
        for shape in [(32, 4, 32), (32, 8, 40), (64, 8, 64), (64, 8, 72)]:
            yield case(rng, kind, *shape, 0.8)
    yield case(rng, "routed", 64, 2, 128, 0.9)  # ranks that take more than a few by cooccurrence


def main():
    DATA.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in cases())
    path = DATA / "cooccurrence.json"
    made_with = "tests/data/placement/make_cooccurrence_fixtures.py"
    path.write_text('{"made_with":"%s","cases":[\n%s\n]}\n' % (made_with, lines))
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
