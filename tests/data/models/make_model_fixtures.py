#!/usr/bin/env python3
"""Writes tests/data/models/<name>/: tiny random checkpoints of the MoE families as published
checkpoints look, and what transformers computes from them.

config.json            fields and spelling of the family's published config.json
model*.safetensors     names, layout and types of the family's published tensors; some are sharded
expected.safetensors   outputs of transformers in fp32, eager attention, on the CPU:
    input_ids            I32 [tokens], the sequences one after the other
    sequence_lengths     I32 [num_sequences]; each sequence is run on its own, positions from 0
    embedding            F32 [tokens, hidden], input of layer 0
    layers.L.hidden      F32 [tokens, hidden], output of decoder layer L, before any final norm
    layers.L.scores      F32 [tokens, num_experts], what selection ranks: logits of softmax
                         families, sigmoid plus bias of the others; no group is masked in it
    layers.L.expert_ids  I32 [tokens, top_k], by descending score; the last two of MoE layers only
versions.json          versions of what computed this, and the seed of this checkpoint

transformers gets exactly the values that the files stand for: what bf16, fp16, fp8 (times block
scales) or MXFP4 represents, as fp32 parameters. The seed is the first from SEED on for which
  - no choice of an expert or group is closer than MIN_MARGIN, so that rounding changes no id,
  - correction biases have both signs, and excluded groups must be masked with -inf, not 0,
  - each MoE layer uses three quarters of its experts.

Of every checkpoint it is asserted that
  - its selections follow from the scores by the rule spelled out in select(),
  - each change of the config in its row's "matters" changes the hidden states; that of the norm's
    epsilon does so everywhere,
  - transformers' from_pretrained reads the written folder and computes the same (not where the row
    says no "public_route").

Needs the packages of PACKAGES; a Python that lacks them makes build/fixtures-venv and goes on
there. On one machine the same versions give the same bytes; another processor may round the last
bits of expected.safetensors differently.
"""

import argparse
import copy
import importlib.metadata
import itertools
import json
import math
import os
import pathlib
import platform
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "data" / "models"
VENV = ROOT / "build" / "fixtures-venv"
PACKAGES = {"torch": "2.15.0", "transformers": "5.23.0", "safetensors": "0.8.0", "numpy": "2.4.6"}
SEED = 1
MIN_MARGIN = 1e-4
MIN_CHANGE = 1e-3


def has_packages():
    try:
        return all(importlib.metadata.version(name).split("+")[0] == version
                   for name, version in PACKAGES.items())
    except importlib.metadata.PackageNotFoundError:
        return False


def enter_venv():
    python = VENV / "bin" / "python"
    if pathlib.Path(sys.prefix) == VENV:
        sys.exit(f"{VENV}: lacks {PACKAGES}; remove it and start again")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pins = [f"{name}=={version}" for name, version in PACKAGES.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True)
    os.execv(python, [python, *sys.argv])


if not has_packages():
    enter_venv()

os.environ["HF_HUB_OFFLINE"] = "1"
import safetensors.torch
import torch
import transformers
from transformers.integrations import mxfp4

# ------------------------------------------------------------------------------------------ rows

DEEPSEEK_AUTO_MAP = {
    "AutoConfig": "configuration_deepseek.DeepseekV3Config",
    "AutoModel": "modeling_deepseek.DeepseekV3Model",
    "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM",
}

# Names of gate, up and down of one expert.
LLAMA_NAMES = ("gate_proj", "up_proj", "down_proj")
MIXTRAL_NAMES = ("w1", "w3", "w2")

DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": DEEPSEEK_AUTO_MAP,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "ep_size": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 80,
    "kv_lora_rank": 16,
    "max_position_embeddings": 40960,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 8,
    "moe_layer_freq": 1,
    "n_group": 4,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 2,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 16,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 1024,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 2,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.3",
    "use_cache": True,
    "v_head_dim": 20,
    "vocab_size": 64,
}

# As R1 publishes it; one matrix has a ragged second block in both directions.
DEEPSEEK_V3_FP8 = {
    **DEEPSEEK_V3,
    "hidden_size": 144,
    "intermediate_size": 136,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "num_nextn_predict_layers": 0,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
    },
    "vocab_size": 48,
}

KIMI_K2 = {
    **DEEPSEEK_V3,
    "aux_loss_alpha": 0.001,
    "max_position_embeddings": 131072,
    "model_type": "kimi_k2",
    "n_group": 1,
    "n_routed_experts": 24,
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 0,
    "rope_scaling": {
        "beta_fast": 1.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
    "rope_theta": 50000.0,
    "routed_scaling_factor": 2.827,
    "seq_aux": True,
    "topk_group": 1,
    "transformers_version": "4.48.3",
}

DEEPSEEK_V2 = {
    **{name: value for name, value in DEEPSEEK_V3.items() if name != "num_nextn_predict_layers"},
    "architectures": ["DeepseekV2ForCausalLM"],
    "auto_map": {name: value.replace("V3", "V2") for name, value in DEEPSEEK_AUTO_MAP.items()},
    "aux_loss_alpha": 0.001,
    "model_type": "deepseek_v2",
    "n_shared_experts": 2,
    "norm_topk_prob": False,
    "pretraining_tp": 1,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 0.707,
        "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 1024,
        "type": "yarn",
    },
    "routed_scaling_factor": 16.0,
    "scoring_func": "softmax",
    "seq_aux": True,
    "topk_method": "group_limited_greedy",
    "transformers_version": "4.39.3",
}

# As transformers 5 saves it: rope_parameters, dtype.
DEEPSEEK_V2_LITE = {
    **{name: value for name, value in DEEPSEEK_V2.items()
       if name not in ("auto_map", "rope_scaling", "rope_theta", "torch_dtype")},
    "dtype": "bfloat16",
    "n_group": 1,
    "num_hidden_layers": 2,
    "q_lora_rank": None,
    "rope_parameters": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 0.707,
        "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 1024,
        "rope_theta": 10000,
        "rope_type": "yarn",
        "type": "yarn",
    },
    "routed_scaling_factor": 1.0,
    "topk_group": 1,
    "topk_method": "greedy",
    "transformers_version": "5.23.0",
}

QWEN3_MOE = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "decoder_sparse_step": 1,
    "eos_token_id": 1,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 80,
    "max_position_embeddings": 40960,
    "max_window_layers": 3,
    "mlp_only_layers": [1],
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 16,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts": 12,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "output_router_logits": False,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 64,
}

MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 24,
    "max_position_embeddings": 32768,
    "model_type": "mixtral",
    "num_attention_heads": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
    "output_router_logits": False,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.02,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.36.0.dev0",
    "use_cache": True,
    "vocab_size": 64,
}

QWEN2_MOE = {
    "architectures": ["Qwen2MoeForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "decoder_sparse_step": 1,
    "eos_token_id": 1,
    "hidden_act": "silu",
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 80,
    "max_position_embeddings": 8192,
    "max_window_layers": 21,
    "model_type": "qwen2_moe",
    "moe_intermediate_size": 16,
    "norm_topk_prob": False,
    "num_attention_heads": 4,
    "num_experts": 12,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "output_router_logits": False,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "shared_expert_intermediate_size": 32,
    "sliding_window": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.39.0.dev0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 64,
}

# As transformers 5 saves it: rope_parameters, dtype.
OLMOE = {
    "architectures": ["OlmoeForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "clip_qkv": 1.25,
    "dtype": "float32",
    "eos_token_id": 0,
    "hidden_act": "silu",
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 8,
    "max_position_embeddings": 4096,
    "model_type": "olmoe",
    "norm_topk_prob": False,
    "num_attention_heads": 4,
    "num_experts": 12,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "output_router_logits": False,
    "pad_token_id": 1,
    "rms_norm_eps": 1e-05,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "router_aux_loss_coef": 0.01,
    "tie_word_embeddings": False,
    "transformers_version": "5.23.0",
    "use_cache": True,
    "vocab_size": 64,
}

GLM4_MOE = {
    "architectures": ["Glm4MoeForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": [0, 2, 3],
    "first_k_dense_replace": 1,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 56,
    "max_position_embeddings": 131072,
    "model_type": "glm4_moe",
    "moe_intermediate_size": 8,
    "n_group": 1,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "num_nextn_predict_layers": 1,
    "pad_token_id": 0,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "routed_scaling_factor": 2.5,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.54.0",
    "use_cache": True,
    "use_qk_norm": True,
    "vocab_size": 48,
}

# As 4.5-Air, without norm of queries and keys, and as transformers 5 saves it.
GLM4_MOE_AIR = {
    **{name: value for name, value in GLM4_MOE.items()
       if name not in ("partial_rotary_factor", "rope_scaling", "rope_theta", "torch_dtype")},
    "dtype": "bfloat16",
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 0,
    "rope_parameters": {
        "partial_rotary_factor": 0.5,
        "rope_theta": 1000000,
        "rope_type": "default",
    },
    "routed_scaling_factor": 1.0,
    "tie_word_embeddings": True,
    "transformers_version": "5.23.0",
    "use_qk_norm": False,
}

MINIMAX_M2 = {
    "architectures": ["MiniMaxM2ForCausalLM"],
    "attn_type_list": [1, 1],
    "auto_map": {
        "AutoConfig": "configuration_minimax_m2.MiniMaxM2Config",
        "AutoModelForCausalLM": "modeling_minimax_m2.MiniMaxM2ForCausalLM",
    },
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 48,
    "intermediate_size": 16,
    "max_position_embeddings": 196608,
    "model_type": "minimax_m2",
    "mtp_transformer_layers": 1,
    "num_attention_heads": 4,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 16,
    "num_mtp_modules": 3,
    "qk_norm_type": "per_layer",
    "rms_norm_eps": 1e-06,
    "rope_theta": 5000000,
    "rotary_dim": 8,
    "scoring_func": "sigmoid",
    "shared_intermediate_size": 0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.1",
    "use_cache": True,
    "use_mtp": True,
    "use_qk_norm": True,
    "use_routing_bias": True,
    "vocab_size": 64,
}

# As M2 is published, without torch_dtype.
MINIMAX_M2_FP8 = {
    **{name: value for name, value in MINIMAX_M2.items() if name != "torch_dtype"},
    "hidden_size": 144,
    "intermediate_size": 8,
    "num_local_experts": 12,
    "num_experts_per_tok": 3,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "float8_e4m3fn",
        "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"],
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
    },
    "vocab_size": 48,
}

GPT_OSS = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": 1,
    "experts_per_token": 4,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 32,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 4,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "num_local_experts": 12,
    "output_router_logits": False,
    "pad_token_id": 0,
    "quantization_config": {
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
        "quant_method": "mxfp4",
    },
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "router_aux_loss_coef": 0.9,
    "sliding_window": 8,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.55.0.dev0",
    "use_cache": True,
    "vocab_size": 64,
}

# name, config; then, where they differ from DEFAULTS:
#   matters           changes of the config which must change the hidden states
#   oracle            model_type of the implementation in transformers
#   block             what checkpoints call the "mlp" of transformers in MoE layers
#   expert_names      gate, up and down of an expert on disk
#   num_shards        files that hold the weights
#   mean_bias         of e_score_correction_bias
#   gain              of weights whose name on disk contains the key, 1 for the others
#   in_fp32           matches the names of tensors which checkpoints keep in fp32
#   quantization      None, "fp8" (blocks of 128 x 128) or "mxfp4" (experts)
#   lengths           of the sequences
#   public_route      whether from_pretrained reads the folder with these packages
DEFAULTS = {
    "matters": [],
    "oracle": None,
    "block": "mlp",
    "expert_names": LLAMA_NAMES,
    "num_shards": 1,
    "mean_bias": 0.0,
    "gain": {},
    "in_fp32": r"e_score_correction_bias$",
    "quantization": None,
    "lengths": [17, 9, 14],
    "public_route": True,
}

ROWS = [
    {
        "name": "deepseek_v3",
        "config": DEEPSEEK_V3,
        "mean_bias": -0.3,
        "matters": [
            {"rope_scaling": None},
            {"rope_scaling.beta_fast": 1},
            {"rope_scaling.mscale_all_dim": 0.5},
            {"rope_interleave": False},
            {"n_group": 1, "topk_group": 1},
            {"topk_group": 3},
            {"norm_topk_prob": False},
            {"routed_scaling_factor": 1.0},
        ],
    },
    {
        "name": "deepseek_v3_fp8",
        "config": DEEPSEEK_V3_FP8,
        "mean_bias": -0.3,
        "quantization": "fp8",
        "num_shards": 3,
        "lengths": [13, 11],
        "matters": [{"topk_group": 3}],
        "public_route": False,
    },
    {
        "name": "kimi_k2",
        "config": KIMI_K2,
        "oracle": "deepseek_v3",
        "mean_bias": -0.2,
        "matters": [
            {"rope_scaling.beta_fast": 32},
            {"rope_scaling.mscale_all_dim": 0.5},
            {"routed_scaling_factor": 2.5},
        ],
    },
    {
        "name": "deepseek_v2",
        "config": DEEPSEEK_V2,
        "gain": {"mlp.experts": 0.7},
        "matters": [
            {"rope_scaling.mscale_all_dim": 1.0},
            {"topk_method": "greedy"},
            {"topk_group": 3},
            {"routed_scaling_factor": 1.0},
        ],
    },
    {
        "name": "deepseek_v2_lite",
        "config": DEEPSEEK_V2_LITE,
        "matters": [
            {"rope_parameters.factor": 10},
            {"rope_parameters.mscale_all_dim": 1.0},
            {"routed_scaling_factor": 2.0},
        ],
    },
    {
        "name": "qwen3_moe",
        "config": QWEN3_MOE,
        "matters": [{"norm_topk_prob": False}, {"rope_theta": 10000.0}],
    },
    {
        "name": "qwen2_moe",
        "config": QWEN2_MOE,
        "matters": [{"norm_topk_prob": True}, {"rope_theta": 10000.0}],
    },
    {
        "name": "mixtral",
        "config": MIXTRAL,
        "block": "block_sparse_moe",
        "expert_names": MIXTRAL_NAMES,
        "num_shards": 2,
        "matters": [{"rope_theta": 10000.0}],
    },
    {
        "name": "olmoe",
        "config": OLMOE,
        "matters": [
            {"clip_qkv": None},
            {"norm_topk_prob": True},
            {"rope_parameters.rope_theta": 100.0},
        ],
    },
    {
        "name": "glm4_moe",
        "config": GLM4_MOE,
        "mean_bias": -0.3,
        "matters": [
            {"partial_rotary_factor": 1.0},
            {"norm_topk_prob": False},
            {"routed_scaling_factor": 1.0},
        ],
    },
    {
        "name": "glm4_moe_air",
        "config": GLM4_MOE_AIR,
        "mean_bias": -0.3,
        "matters": [{"rope_parameters.partial_rotary_factor": 1.0}, {"norm_topk_prob": False}],
    },
    {
        "name": "minimax_m2",
        "config": MINIMAX_M2,
        "block": "block_sparse_moe",
        "expert_names": MIXTRAL_NAMES,
        "matters": [{"rotary_dim": 16}, {"rope_theta": 10000.0}],
    },
    {
        "name": "minimax_m2_fp8",
        "config": MINIMAX_M2_FP8,
        "block": "block_sparse_moe",
        "expert_names": MIXTRAL_NAMES,
        "in_fp32": r"(e_score_correction_bias|\.gate\.weight)$",
        "quantization": "fp8",
        "num_shards": 2,
        "lengths": [13, 11],
        "matters": [{"rotary_dim": 16}],
        "public_route": False,
    },
    {
        "name": "gpt_oss",
        "config": GPT_OSS,
        "expert_names": None,
        "quantization": "mxfp4",
        "gain": {"gate_up_proj": 2.3, "mlp.experts.down_proj": 0.12},
        "matters": [
            {"layer_types": ["full_attention"] * 3},
            {"sliding_window": 9},
            {"rope_scaling.truncate": True},
            {"rope_scaling.attention_factor": 1.0},
            {"swiglu_limit": 100.0},
        ],
    },
]

# ---------------------------------------------------------------------------------------- weights


def disk_parts(name, parameter, row):
    """Yields name on disk and the part of the parameter that it fills: transformers keeps the
    experts of a layer in one parameter, checkpoints keep matrices; those that keep one tensor have
    outputs before inputs."""
    name = re.sub(r"\.mlp\.(?=gate\.|experts\.|e_score)", f".{row['block']}.", name)
    stem, kind = name.rsplit(".", 1)
    if not stem.endswith(".experts") or kind.endswith("bias"):
        yield name, parameter
        return
    if row["expert_names"] is None:
        yield name, parameter.transpose(1, 2)
        return
    gate, up, down = row["expert_names"]
    for expert_id, matrix in enumerate(parameter):
        if kind == "gate_up_proj":
            first, second = matrix.chunk(2)
            yield f"{stem}.{expert_id}.{gate}.weight", first
            yield f"{stem}.{expert_id}.{up}.weight", second
        else:
            yield f"{stem}.{expert_id}.{down}.weight", matrix


def draw(name, shape, row, rng):
    """Random values of a tensor: spread-out routing, hidden states that keep their size, embeddings
    so small that the epsilon of the first norm matters."""
    normal = torch.randn(shape, generator=rng)
    if "norm" in name:
        return 1 + 0.2 * normal
    if name.endswith("e_score_correction_bias"):
        return row["mean_bias"] + 0.2 * normal
    if name.endswith("bias"):
        return 0.3 * normal
    if name.endswith("sinks"):
        return normal
    if "embed_tokens" in name:
        return 10 * math.sqrt(row["config"]["rms_norm_eps"]) * normal
    if re.search(r"(gate|router)\.weight$", name):
        return 1.5 * normal / math.sqrt(shape[-1])
    gain = math.prod(factor for key, factor in row["gain"].items() if key in name)
    return gain * normal / math.sqrt(shape[-1])


def in_blocks(values, size):
    """Factors of one value per block, as a function that spreads them over the matrix."""
    rows, columns = values.shape

    def spread(factors):
        return factors.repeat_interleave(size, 0)[:rows].repeat_interleave(size, 1)[:, :columns]
    return spread


def fp8_blocks(values, rng, size=128):
    """Quantised values and the scale of each block; blocks differ in size so that scales do."""
    shape = [math.ceil(extent / size) for extent in values.shape]
    spread = in_blocks(values, size)
    values = values * spread(2 ** (2 * torch.rand(shape, generator=rng) - 1))
    largest = [[values[row:row + size, column:column + size].abs().max()
                for column in range(0, values.shape[1], size)]
               for row in range(0, values.shape[0], size)]
    scale = torch.tensor(largest) / torch.finfo(torch.float8_e4m3fn).max
    quantized = (values / spread(scale)).to(torch.float8_e4m3fn)
    return quantized, scale, quantized.float() * spread(scale)


def mxfp4_blocks(values, rng, size=32):
    """Quantised values, two in a byte, and the scale of each block of 32."""
    values = values.unflatten(-1, (-1, size))
    values = values * 2.0 ** torch.randint(-1, 2, (*values.shape[:-1], 1), generator=rng)
    exponent = torch.floor(torch.log2(values.abs().amax(-1, keepdim=True))) - 2
    magnitudes = torch.tensor(mxfp4.FP4_VALUES[:8])
    distances = (values.abs() / 2**exponent).unsqueeze(-1).sub(magnitudes).abs()
    nibbles = (distances.argmin(-1) + 8 * (values < 0)).to(torch.uint8)
    blocks = nibbles[..., 0::2] | nibbles[..., 1::2] << 4
    scales = (exponent.squeeze(-1) + 127).to(torch.uint8)
    dequantized = mxfp4.convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    return blocks, scales, dequantized.transpose(1, 2)


def is_linear(name):
    """Whether fp8 checkpoints quantise it: the linears of attention and MLPs, no gate."""
    return re.search(r"(_proj|_proj_with_mqa|\.w[123])\.weight$", name)


def stored(name, values, row, rng):
    """The tensors on disk that stand for these values, and the values they stand for."""
    if row["quantization"] == "fp8" and is_linear(name):
        quantized, scale, values = fp8_blocks(values, rng)
        return {name: quantized, name + "_scale_inv": scale}, values
    if row["quantization"] == "mxfp4" and re.search(r"\.experts\.\w+_proj$", name):
        blocks, scales, values = mxfp4_blocks(values, rng)
        return {name + "_blocks": blocks, name + "_scales": scales}, values
    kept = re.search(row["in_fp32"], name)
    tensor = values.to(torch.float32 if kept else getattr(torch, row["dtype"]))
    return {name: tensor}, tensor.float()


def fill(model, row, rng):
    """Gives the model random parameters and returns them as on disk."""
    tensors = {}
    tied = row["config"]["tie_word_embeddings"]
    for name, parameter in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        for disk_name, part in disk_parts(name, parameter, row):
            files, values = stored(disk_name, draw(disk_name, part.shape, row, rng), row, rng)
            part.copy_(values)
            tensors.update(files)
    return tensors


def prediction_layers(tensors, row, rng):
    """Tensors of the layers for multi-token prediction, which stand behind the decoder layers and
    which nothing reads: those of a decoder layer, and some of their own."""
    config = row["config"]
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    own = {"eh_proj.weight": (hidden, 2 * hidden), "enorm.weight": (hidden,),
           "hnorm.weight": (hidden,), "embed_tokens.weight": (vocab, hidden),
           "shared_head.head.weight": (vocab, hidden), "shared_head.norm.weight": (hidden,)}
    num_layers = config["num_hidden_layers"]
    last = f"model.layers.{num_layers - 1}."
    of_layer = {name.removeprefix(last): tensor.shape for name, tensor in tensors.items()
                if name.startswith(last) and not name.endswith("_scale_inv")}
    extra = {}
    for layer_id in range(num_layers, num_layers + config.get("num_nextn_predict_layers", 0)):
        for name, shape in {**of_layer, **own}.items():
            name = f"model.layers.{layer_id}.{name}"
            extra |= stored(name, draw(name, shape, row, rng), row, rng)[0]
    return extra


# ----------------------------------------------------------------------------------------- oracle


def changed(config, changes):
    """The config with other values; a dot leads into an object."""
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *objects, field = path.split(".")
        place = config
        for name in objects:
            place = place[name]
        place[field] = value
    return config


def oracle_config(row, changes=()):
    fields = changed(row["config"], dict(changes))
    fields.pop("quantization_config", None)
    fields["model_type"] = row["oracle"] or fields["model_type"]
    return transformers.CONFIG_MAPPING[fields["model_type"]].from_dict(fields)


def build(config):
    model = transformers.AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    return model.eval()


def router_of(layer):
    return getattr(layer.mlp, "gate", None) or getattr(layer.mlp, "router", None)


def bias_of(layer):
    for module in (layer.mlp, router_of(layer)):
        if hasattr(module, "e_score_correction_bias"):
            return module.e_score_correction_bias
    return None


def scores_of(logits, bias):
    return logits if bias is None else logits.sigmoid() + bias


def run(model, input_ids, lengths):
    """Runs each sequence alone; returns the tensors of expected.safetensors, ids as transformers
    orders them."""
    parts = {}

    def record(name, value):
        parts.setdefault(name, []).append(value.reshape(-1, value.shape[-1]).clone())

    def on_router(prefix, bias):
        def hook(module, arguments, output):
            record(prefix + "scores", scores_of(output[0], bias))
            record(prefix + "expert_ids", output[2])
        return hook

    def on_layer(prefix):
        def hook(module, arguments, output):
            record(prefix + "hidden", output[0] if isinstance(output, tuple) else output)
        return hook

    layers = model.model.layers
    hooks = [model.model.embed_tokens.register_forward_hook(
        lambda module, arguments, output: record("embedding", output))]
    for layer_id, layer in enumerate(layers):
        prefix = f"layers.{layer_id}."
        hooks.append(layer.register_forward_hook(on_layer(prefix)))
        router = router_of(layer)
        if router is not None:
            hooks.append(router.register_forward_hook(on_router(prefix, bias_of(layer))))
    with torch.no_grad():
        for sequence in input_ids.split(lengths):
            model.model(input_ids=sequence[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(values) for name, values in parts.items()}


# -------------------------------------------------------------------------------------- selection


def group_scores(scores, row):
    """[tokens, n_group]: sum of the two best where a bias corrects the scores, else the best."""
    groups = scores.unflatten(1, (row["config"]["n_group"], -1))
    best = 2 if row["biased"] else 1
    return groups.topk(best, dim=-1).values.sum(-1)


def has_groups(config):
    return config.get("n_group", 1) > 1 and config.get("topk_method") != "greedy"


def margin(scores, k):
    """How far the k-th best is from the next, the least over tokens."""
    if k == scores.shape[1]:
        return math.inf
    best = scores.topk(k + 1, dim=-1).values
    return (best[:, k - 1] - best[:, k]).min().item()


def select(scores, row, masked=-math.inf):
    """Ids by descending score, and the closest decision."""
    config = row["config"]
    k = config["num_experts_per_tok"]
    closest = math.inf
    if has_groups(config):
        of_groups = group_scores(scores, row)
        closest = margin(of_groups, config["topk_group"])
        kept = torch.zeros_like(of_groups, dtype=torch.bool).scatter(
            1, of_groups.topk(config["topk_group"]).indices, True)
        per_group = scores.shape[1] // config["n_group"]
        scores = scores.masked_fill(~kept.repeat_interleave(per_group, dim=1), masked)
    closest = min(closest, margin(scores, k))
    return scores.sort(dim=-1, descending=True, stable=True).indices[:, :k], closest


def sort_ids(expected, row):
    """Replaces expert_ids by the same ids in the order of their scores; returns the closest
    decision of all layers."""
    closest = math.inf
    for name in [name for name in expected if name.endswith(".expert_ids")]:
        scores = expected[name.replace("expert_ids", "scores")]
        ids, distance = select(scores, row)
        closest = min(closest, distance)
        same = torch.equal(ids.sort().values, expected[name].sort().values)
        assert same or distance < MIN_MARGIN, f"{row['name']}: {name} do not follow from the scores"
        expected[name] = ids
    return closest


# ----------------------------------------------------------------------------------------- checks


def is_telling(tensors, expected, row):
    """Whether biases have both signs, and masking groups with 0 would choose other experts."""
    biases = [tensor for name, tensor in tensors.items() if name.endswith("correction_bias")]
    if biases and not any((bias < 0).any() and (bias > 0).any() for bias in biases):
        return False
    return not (biases and has_groups(row["config"])) or any(
        not torch.equal(select(scores, row)[0], select(scores, row, masked=0.0)[0])
        for name, scores in expected.items() if name.endswith(".scores"))


def share_used(expected):
    """Of the experts of the MoE layer that uses the fewest."""
    return min(len(ids.unique()) / expected[name.replace("expert_ids", "scores")].shape[1]
               for name, ids in expected.items() if name.endswith(".expert_ids"))


def check_matters(model, expected, row, input_ids, lengths):
    last = f"layers.{row['config']['num_hidden_layers'] - 1}.hidden"
    for changes in [*row["matters"], {"rms_norm_eps": 1e-4}]:
        other = build(oracle_config(row, changes))
        other.load_state_dict(model.state_dict())
        difference = (run(other, input_ids, lengths)[last] - expected[last]).abs().max().item()
        assert difference > MIN_CHANGE, f"{row['name']}: {changes} changes hidden by {difference}"


def check_public_route(folder, expected, row, input_ids, lengths):
    """That transformers finds every parameter in the folder and computes the same from it."""
    arguments = {"config": oracle_config(row)} if row["oracle"] else {}
    if row["quantization"] == "mxfp4":
        arguments["quantization_config"] = transformers.Mxfp4Config(dequantize=True)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True, **arguments)
    beyond = f"model.layers.{row['config']['num_hidden_layers']}."
    assert not report["missing_keys"], f"{row['name']}: {report}"
    unknown = [key for key in report["unexpected_keys"] if not key.startswith(beyond)]
    assert not unknown, f"{row['name']}: {report}"
    found = run(model.eval(), input_ids, lengths)
    sort_ids(found, row)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), f"{row['name']}: {name} differs when loaded"


# ------------------------------------------------------------------------------------------ files


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def num_bytes(tensor):
    return tensor.numel() * tensor.element_size()


def write_weights(folder, tensors, num_shards):
    """In shards, if there are several, a layer and even a weight and its scale may be split."""
    metadata = {"format": "pt"}
    if num_shards == 1:
        safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata)
        return
    total = sum(num_bytes(tensor) for tensor in tensors.values())
    weight_map, written = {}, 0
    for name, tensor in tensors.items():
        shard = written * num_shards // total + 1
        weight_map[name] = f"model-{shard:05}-of-{num_shards:05}.safetensors"
        written += num_bytes(tensor)
    for file in sorted(set(weight_map.values())):
        shard = {name: tensor for name, tensor in tensors.items() if weight_map[name] == file}
        safetensors.torch.save_file(shard, folder / file, metadata)
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_expected(folder, expected, input_ids, lengths):
    tensors = {name: tensor.to(torch.int32) if name.endswith("_ids") else tensor
               for name, tensor in expected.items()}
    tensors["input_ids"] = input_ids.to(torch.int32)
    tensors["sequence_lengths"] = torch.tensor(lengths, dtype=torch.int32)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, folder / "expected.safetensors")


def versions(seed):
    return {"made_with": "tests/data/models/make_model_fixtures.py", "python": platform.python_version(),
            "seed": seed, **{name: importlib.metadata.version(name) for name in PACKAGES}}


def prepared(row):
    row = {**DEFAULTS, **row}
    config = row["config"]
    row["dtype"] = config.get("torch_dtype") or config.get("dtype") or "bfloat16"
    row["biased"] = bool(config.get("topk_method") == "noaux_tc" or config.get("use_routing_bias")
                         or config["model_type"] == "glm4_moe")
    return row


def first_good(row):
    """The first seed from SEED on that fulfils what the head of this file demands, with all that
    follows from it."""
    config, lengths = row["config"], row["lengths"]
    for seed in itertools.count(SEED):
        rng = torch.Generator().manual_seed(seed)
        model = build(oracle_config(row))
        tensors = fill(model, row, rng)
        tensors |= prediction_layers(tensors, row, rng)
        input_ids = torch.randint(config["vocab_size"], (sum(lengths),), generator=rng)
        expected = run(model, input_ids, lengths)
        closest = sort_ids(expected, row)
        if (closest >= MIN_MARGIN and share_used(expected) >= 0.75
                and is_telling(tensors, expected, row)):
            return seed, model, tensors, input_ids, expected, closest


def make(row):
    row = prepared(row)
    lengths = row["lengths"]
    seed, model, tensors, input_ids, expected, closest = first_good(row)
    check_matters(model, expected, row, input_ids, lengths)

    folder = DATA / row["name"]
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    write_json(folder / "config.json", row["config"])
    write_json(folder / "versions.json", versions(seed))
    write_weights(folder, tensors, row["num_shards"])
    write_expected(folder, expected, input_ids, lengths)
    for file in folder.iterdir():
        file.chmod(0o644)
    if row["public_route"]:
        check_public_route(folder, expected, row, input_ids, lengths)

    size = sum(file.stat().st_size for file in folder.iterdir())
    largest = max(tensor.abs().max().item()
                  for name, tensor in expected.items() if name.endswith("hidden"))
    print(f"{row['name']:16} {size / 1000:6.0f} kB  seed {seed}  closest decision {closest:.1e}  "
          f"largest hidden {largest:.1f}  experts used {share_used(expected):.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", help="of checkpoints; all if none is given")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for row in ROWS:
        if not names or row["name"] in names:
            make(row)


if __name__ == "__main__":
    main()
