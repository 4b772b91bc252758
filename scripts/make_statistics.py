#!/usr/bin/env python3
"""Writes a synthetic statistics folder in TensorRT-LLM's format, for benchmarks and trials.

    make_statistics.py stats --ep_size 32 --num_iterations 100 --num_layers 58 --num_experts 256

The counts are skewed the way real ones are: each layer has its own hot experts, and they stay hot
over iterations and ranks. Every row adds up to num_tokens * top_k. The same arguments give the
same bytes.
"""

import argparse
import array
import json
import os
import random
import struct
import sys

ROWS_PER_LAYER = 16  # drawn once per layer; iterations and ranks reuse them in a shuffled order


def parse_args():
    parser = argparse.ArgumentParser(
        description="Write a synthetic statistics folder in TensorRT-LLM's format.")
    parser.add_argument("folder")
    parser.add_argument("--ep_size", type=int, default=32)
    parser.add_argument("--num_iterations", type=int, default=100)
    parser.add_argument("--num_layers", type=int, default=58)
    parser.add_argument("--num_experts", type=int, default=256)
    parser.add_argument("--top_k", type=int, default=8)
    parser.add_argument("--num_tokens", type=int, default=128,
                        help="tokens per rank, iteration and layer")
    parser.add_argument("--first_layer", type=int, default=3)
    parser.add_argument("--iter_start", type=int, default=100)
    parser.add_argument("--skew", type=float, default=1.0,
                        help="spread of the experts' popularity; 0: all alike")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name in ("ep_size", "num_iterations", "num_layers", "num_experts", "top_k", "num_tokens"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if args.top_k > args.num_experts:
        parser.error("--top_k must not exceed --num_experts")
    for name in ("first_layer", "iter_start"):
        if getattr(args, name) < 0:
            parser.error(f"--{name} must not be negative")
    return args


def draw_rows(args, rng):
    """ROWS_PER_LAYER rows of counts, as the bytes of one I64 tensor each."""
    popularity = [rng.lognormvariate(0.0, args.skew) for _ in range(args.num_experts)]
    rows = []
    for _ in range(ROWS_PER_LAYER):
        counts = array.array("q", bytes(8 * args.num_experts))
        for expert in rng.choices(range(args.num_experts), popularity,
                                  k=args.num_tokens * args.top_k):
            counts[expert] += 1
        if sys.byteorder == "big":
            counts.byteswap()
        rows.append(counts.tobytes())
    return rows


def make_header(keys, num_experts):
    size = 8 * num_experts
    members = (f'"{iteration}_{layer}":{{"dtype":"I64","shape":[{num_experts}],'
               f'"data_offsets":[{i * size},{(i + 1) * size}]}}'
               for i, (iteration, layer) in enumerate(keys))
    text = ("{" + ",".join(members) + "}").encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def main():
    args = parse_args()
    rng = random.Random(args.seed)
    layers = range(args.first_layer, args.first_layer + args.num_layers)
    iterations = range(args.iter_start, args.iter_start + args.num_iterations)
    # the reference writer orders tensors by the bytes of their names
    keys = sorted(((i, layer) for i in iterations for layer in layers),
                  key=lambda key: f"{key[0]}_{key[1]}")
    rows = {layer: draw_rows(args, rng) for layer in layers}
    header = make_header(keys, args.num_experts)

    os.makedirs(args.folder, exist_ok=True)
    for rank in range(args.ep_size):
        with open(os.path.join(args.folder, f"rank{rank}.safetensors"), "wb") as file:
            file.write(header)
            picks = rng.choices(range(ROWS_PER_LAYER), k=len(keys))
            file.writelines(rows[layer][pick] for (_, layer), pick in zip(keys, picks))
    with open(os.path.join(args.folder, "meta_info.json"), "w", encoding="utf-8") as file:
        json.dump({"num_experts": args.num_experts, "num_experts_per_token": args.top_k}, file)


if __name__ == "__main__":
    main()
