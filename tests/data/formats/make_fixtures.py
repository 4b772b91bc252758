#!/usr/bin/env python3
"""Writes the files beside it with the packages that define their formats; see README.md."""

import json
import os

import numpy as np
import torch
import yaml
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file as save_torch

HERE = os.path.dirname(os.path.abspath(__file__))

EP_SIZE = 2
NUM_EXPERTS = 8
TOP_K = 2
LAYERS = (3, 10)
ITERATIONS = range(98, 102)  # "100_3" comes before "98_3" in the file


def num_tokens(iteration, rank):
    return (iteration + rank) % 3 + 1


def routed_ids(iteration, layer, rank):
    """[num_tokens, TOP_K]; the tests know the same rule."""
    return np.array([[(iteration + layer * rank + 3 * token) % NUM_EXPERTS,
                      (iteration + layer * rank + 3 * token + 1 + token % 2) % NUM_EXPERTS]
                     for token in range(num_tokens(iteration, rank))], dtype=np.int32)


def write_folder():
    folder = os.path.join(HERE, "trtllm")
    os.makedirs(folder, exist_ok=True)
    for rank in range(EP_SIZE):
        ids = {f"{i}_{layer}": routed_ids(i, layer, rank) for i in ITERATIONS for layer in LAYERS}
        counts = {key: torch.bincount(torch.from_numpy(value.flatten()), minlength=NUM_EXPERTS)
                  for key, value in ids.items()}
        save_torch(counts, os.path.join(folder, f"rank{rank}.safetensors"))
        save_numpy(ids, os.path.join(folder, f"token_selected_experts_rank{rank}.safetensors"))
    with open(os.path.join(folder, "meta_info.json"), "w") as file:
        json.dump({"num_experts": NUM_EXPERTS, "num_experts_per_token": TOP_K}, file)


def write_dtypes():
    """One tensor per dtype that torch has, zeros and ones; an empty one; one without dimensions;
    names that JSON must escape."""
    dtypes = {"BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8,
              "F8_E5M2": torch.float8_e5m2, "F8_E4M3": torch.float8_e4m3fn, "I16": torch.int16,
              "F16": torch.float16, "BF16": torch.bfloat16, "I32": torch.int32,
              "F32": torch.float32, "F64": torch.float64, "I64": torch.int64}
    tensors = {f"of {name}": torch.tensor([0.0, 1.0, 0.0]).to(dtype)
               for name, dtype in dtypes.items()}
    tensors["empty"] = torch.zeros((0, 4), dtype=torch.int32)
    tensors["scalar"] = torch.tensor(7, dtype=torch.int64)
    tensors["quote \" backslash \\ tab \t bell \x07 umlaut \u00fc"] = torch.ones(
        (2, 3), dtype=torch.int64)
    save_torch(tensors, os.path.join(HERE, "dtypes.safetensors"))
    save_torch({"x": torch.ones(1)}, os.path.join(HERE, "metadata.safetensors"),
               metadata={"format": "pt"})
    save_torch({}, os.path.join(HERE, "no_tensors.safetensors"))


def write_yaml():
    config = {"num_slots": 6, "layer_updates_per_iter": 0,
              "initial_global_assignments": {10: [0, 1, 2, 3, 1, 0], 3: [3, 2, 1, 0, 0, 1]}}
    with open(os.path.join(HERE, "eplb_config.yaml"), "w") as file:
        yaml.dump(config, file, default_flow_style=None, width=float("inf"))
    wide = {"num_slots": 288, "layer_updates_per_iter": 2,
            "initial_global_assignments": {3: [i % 256 for i in range(288)]}}
    with open(os.path.join(HERE, "eplb_config_wide.yaml"), "w") as file:
        yaml.dump(wide, file, default_flow_style=None, width=float("inf"))


if __name__ == "__main__":
    write_folder()
    write_dtypes()
    write_yaml()
