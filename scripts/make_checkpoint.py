#!/usr/bin/env python3
"""Writes a checkpoint of a published model's true dimensions with random weights.

For measuring speed and memory: what it routes means nothing. Needs numpy, and disk space for the
layers asked for. The last layer that has experts gets none of them: routing never needs them.

    scripts/make_checkpoint.py data/models/olmoe-1b-7b olmoe
    scripts/make_checkpoint.py data/models/deepseek-r1 r1 --dense 0 --layers 2
"""

import argparse
import json
import pathlib
import sys

import numpy

SHARD_BYTES = 5 << 30
POOL = 1 << 26  # random values that all tensors are cut from, at random places


def bf16(values):
    """fp32 to bf16, cut off."""
    return (values.view(numpy.uint32) >> 16).astype(numpy.uint16)


class RandomTensors:
    """Bytes of random tensors; big ones share a pool, for nobody looks at them one by one."""

    def __init__(self, seed):
        self.rng = numpy.random.default_rng(seed)
        normal = self.rng.standard_normal(POOL, dtype=numpy.float32)
        self.pool = {"BF16": bf16(normal * numpy.float32(0.02)),
                     # e4m3 of values around 1: sign, exponent 5 to 8, any mantissa
                     "F8_E4M3": self.rng.integers(0, 256, POOL, dtype=numpy.uint8) & 0x87 |
                     self.rng.integers(5, 9, POOL, dtype=numpy.uint8) << 3}

    def matrix(self, dtype, size):
        """Pieces of the tensor's bytes."""
        pool = self.pool[dtype]
        while size > 0:
            count = min(size, POOL // 2)
            start = int(self.rng.integers(0, POOL - count))
            yield pool[start:start + count].tobytes()
            size -= count

    def norm(self, size):
        return bf16(1 + self.rng.standard_normal(size, dtype=numpy.float32) * numpy.float32(0.1))


class Shards:
    """Writes tensors into files of limited size, and the index."""

    def __init__(self, folder):
        self.folder = folder
        self.files = [[]]
        self.size = 0

    def add(self, name, dtype, shape, pieces):
        num_bytes = int(numpy.prod(shape)) * {"F32": 4, "BF16": 2, "F8_E4M3": 1}[dtype]
        if self.size + num_bytes > SHARD_BYTES and self.files[-1]:
            self.files.append([])
            self.size = 0
        self.files[-1].append((name, dtype, shape, num_bytes, pieces))
        self.size += num_bytes

    def write(self):
        weight_map = {}
        for number, tensors in enumerate(self.files, 1):
            file_name = f"model-{number:05}-of-{len(self.files):05}.safetensors"
            header = {}
            offset = 0
            for name, dtype, shape, num_bytes, _ in tensors:
                header[name] = {"dtype": dtype, "shape": shape,
                                "data_offsets": [offset, offset + num_bytes]}
                offset += num_bytes
                weight_map[name] = file_name
            text = json.dumps(header).encode()
            text += b" " * (-len(text) % 8)
            with open(self.folder / file_name, "wb") as file:
                file.write(len(text).to_bytes(8, "little") + text)
                for *_, pieces in tensors:
                    for piece in pieces:
                        file.write(piece)
        (self.folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": weight_map}), encoding="utf-8")


class Layers:
    """The tensors of a decoder's layers, as its family names them."""

    def __init__(self, config, shards, tensors):
        self.config = config
        self.shards = shards
        self.tensors = tensors
        quantized = config.get("quantization_config", {}).get("quant_method") == "fp8"
        self.linear_dtype = "F8_E4M3" if quantized else "BF16"

    def plain(self, name, rows, columns):
        self.shards.add(name, "BF16", [rows, columns],
                        self.tensors.matrix("BF16", rows * columns))

    def linear(self, name, rows, columns):
        self.shards.add(f"{name}.weight", self.linear_dtype, [rows, columns],
                        self.tensors.matrix(self.linear_dtype, rows * columns))
        if self.linear_dtype == "F8_E4M3":
            shape = [-(-rows // 128), -(-columns // 128)]
            scales = numpy.full(shape, 0.02, dtype=numpy.float32)
            self.shards.add(f"{name}.weight_scale_inv", "F32", shape, [scales.tobytes()])

    def norm(self, name, size):
        self.shards.add(f"{name}.weight", "BF16", [size], [self.tensors.norm(size).tobytes()])

    def mlp(self, name, width):
        hidden = self.config["hidden_size"]
        self.linear(f"{name}.gate_proj", width, hidden)
        self.linear(f"{name}.up_proj", width, hidden)
        self.linear(f"{name}.down_proj", hidden, width)

    def attention(self, name):
        config = self.config
        hidden = config["hidden_size"]
        heads = config["num_attention_heads"]
        if "kv_lora_rank" in config:
            nope, rope = config["qk_nope_head_dim"], config["qk_rope_head_dim"]
            value = config["v_head_dim"]
            self.linear(f"{name}.q_a_proj", config["q_lora_rank"], hidden)
            self.norm(f"{name}.q_a_layernorm", config["q_lora_rank"])
            self.linear(f"{name}.q_b_proj", heads * (nope + rope), config["q_lora_rank"])
            self.linear(f"{name}.kv_a_proj_with_mqa", config["kv_lora_rank"] + rope, hidden)
            self.norm(f"{name}.kv_a_layernorm", config["kv_lora_rank"])
            self.linear(f"{name}.kv_b_proj", heads * (nope + value), config["kv_lora_rank"])
            self.linear(f"{name}.o_proj", hidden, heads * value)
            return
        size = config.get("head_dim") or hidden // heads
        key_heads = config.get("num_key_value_heads") or heads
        self.linear(f"{name}.q_proj", heads * size, hidden)
        self.linear(f"{name}.k_proj", key_heads * size, hidden)
        self.linear(f"{name}.v_proj", key_heads * size, hidden)
        self.linear(f"{name}.o_proj", hidden, heads * size)
        if config["model_type"] == "olmoe":
            self.norm(f"{name}.q_norm", heads * size)
            self.norm(f"{name}.k_norm", key_heads * size)

    def layer(self, number, with_experts):
        config = self.config
        hidden = config["hidden_size"]
        prefix = f"model.layers.{number}"
        self.norm(f"{prefix}.input_layernorm", hidden)
        self.attention(f"{prefix}.self_attn")
        self.norm(f"{prefix}.post_attention_layernorm", hidden)
        if number < config.get("first_k_dense_replace", 0):
            self.mlp(f"{prefix}.mlp", config["intermediate_size"])
            return
        experts = config.get("n_routed_experts") or config["num_experts"]
        width = config.get("moe_intermediate_size") or config["intermediate_size"]
        self.plain(f"{prefix}.mlp.gate.weight", experts, hidden)
        if config["model_type"] == "deepseek_v3":
            bias = numpy.zeros(experts, dtype=numpy.float32)
            self.shards.add(f"{prefix}.mlp.gate.e_score_correction_bias", "F32", [experts],
                            [bias.tobytes()])
        if not with_experts:
            return
        for expert in range(experts):
            self.mlp(f"{prefix}.mlp.experts.{expert}", width)
        if config.get("n_shared_experts"):
            self.mlp(f"{prefix}.mlp.shared_experts", config["n_shared_experts"] * width)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=pathlib.Path, help="folder with a config.json")
    parser.add_argument("output", type=pathlib.Path, help="folder that is made")
    parser.add_argument("--layers", type=int, help="so many layers instead of the model's")
    parser.add_argument("--dense", type=int, help="so many dense layers first, instead")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    config = json.loads((arguments.config / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] not in ("olmoe", "deepseek_v3"):
        sys.exit(f"make_checkpoint.py: error: {config['model_type']} is neither olmoe nor deepseek_v3")
    if arguments.layers:
        config["num_hidden_layers"] = arguments.layers
    if arguments.dense is not None:
        config["first_k_dense_replace"] = arguments.dense
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    shards = Shards(arguments.output)
    layers = Layers(config, shards, RandomTensors(arguments.seed))
    layers.plain("model.embed_tokens.weight", config["vocab_size"], config["hidden_size"])
    for number in range(config["num_hidden_layers"]):
        layers.layer(number, number + 1 < config["num_hidden_layers"])
    shards.write()


if __name__ == "__main__":
    main()
