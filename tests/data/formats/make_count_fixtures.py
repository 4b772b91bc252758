#!/usr/bin/env python3
"""Writes tests/data/formats/counts: one set of routes in each text format that eplb reads.

Python's json module spells the files and collections.Counter counts the routes, so that the tests do
not compare our readers with our own output.

usage: tests/data/formats/make_count_fixtures.py
"""

import collections
import json
import pathlib
import random

FOLDER = pathlib.Path(__file__).resolve().parent / "counts"
NUM_EXPERTS = 8
TOP_K = 2
LAYERS = [1, 2, 10]  # model layer ids; layer 0 is dense in the files that have all layers
NUM_TOKENS = {"cmpl-b": 5, "cmpl-a": 1, "cmpl-c": 7}  # by request


def main():
    draw = random.Random(7)
    routes = {}  # (req_id, token, layer): (expert ids, gate weights)
    for request, num_tokens in NUM_TOKENS.items():
        for token in range(num_tokens):
            for layer in LAYERS:
                experts = draw.sample(range(NUM_EXPERTS), TOP_K)
                weights = [round(draw.random(), 4) for _ in experts]
                routes[request, token, layer] = experts, weights
    FOLDER.mkdir(exist_ok=True)
    write_trace(routes)
    write_esft(routes)
    counts = [[count(routes, request, layer) for layer in LAYERS] for request in NUM_TOKENS]
    dump("expected.json", counts)
    dense = [0] * NUM_EXPERTS
    steps = [[dense] + layers for layers in counts]
    unused = [dense] * (len(LAYERS) + 1)
    dump("sglang_steps.json", {"rank": 0, "logical_count": [steps[0], unused] + steps[1:] + [unused],
                               "average_utilization_rate_over_window": None})
    total = [[sum(column) for column in zip(*rows)] for rows in zip(*steps)]
    dump("sglang_sum.json", {"logical_count": [[float(n) for n in row] for row in total]})
    dump("summed.json", {"counts": total[1:], "num_layers": len(LAYERS),
                         "num_experts": NUM_EXPERTS, "src": "stat.pt"})
    dump("vllm_history.json", {"load_history": [{"step": i, "logical_expert_load": layers}
                                                for i, layers in enumerate(counts)]})


def count(routes, request, layer):
    """[NUM_EXPERTS]"""
    counter = collections.Counter()
    for (other, _, other_layer), (experts, _) in routes.items():
        if (other, other_layer) == (request, layer):
            counter.update(experts)
    return [counter[expert] for expert in range(NUM_EXPERTS)]


def write_trace(routes):
    """As decoding does it: the requests take turns, token by token."""
    meta = {"type": "meta", "model_id": "some/model", "vllm_version": "0.11.0",
            "torch_version": "2.8.0", "device": "cuda:0", "seed": None, "layers_logged": LAYERS,
            "top_k": TOP_K}
    lines = [json.dumps(meta)]
    first = list(NUM_TOKENS)
    places = sorted(routes, key=lambda place: (place[1], first.index(place[0])))
    for request, token, layer in places:
        experts, weights = routes[request, token, layer]
        lines.append(json.dumps({"type": "route", "req_id": request, "token_idx": token,
                                 "layer": layer, "topk_ids": experts, "topk_weights": weights}))
    (FOLDER / "routing_trace.jsonl").write_text("".join(line + "\n" for line in lines))


def write_esft(routes):
    folder = FOLDER / "esft"
    folder.mkdir(exist_ok=True)
    for layer in LAYERS:
        lines = []
        for request, num_tokens in NUM_TOKENS.items():
            here = [routes[request, token, layer] for token in range(num_tokens)]
            experts = [str(expert) for experts, _ in here for expert in experts]
            weights = [f"{weight:.4f}" for _, weights in here for weight in weights]
            lines.append("\t".join(experts + [""] + weights) + "\n")
        (folder / f"expert_weights_v2_layer_{layer}.txt").write_text("".join(lines))


def dump(name, value):
    (FOLDER / name).write_text(json.dumps(value))


if __name__ == "__main__":
    main()
