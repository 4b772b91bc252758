#!/usr/bin/env python3
"""Writes the first files of data/corpus: good ones, and one of each kind of bad one.

Nothing is expected of the content but that readers survive it, so nothing here need be exact.
"""

import json
import os
import struct

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data", "corpus")

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "models")

# of a dtype: bytes of an element, and its letter in the struct module
DTYPES = {"I64": (8, "q"), "I32": (4, "i"), "F32": (4, "f"), "U8": (1, "B")}


def write(target, name, content):
    folder = os.path.join(CORPUS, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def with_header(header, data=b""):
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    text += " " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text.encode() + data


def safetensors(tensors):
    """{name: (dtype, shape, values)}"""
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        size, letter = DTYPES[dtype]
        end = len(data) + size * len(values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), end]}
        data += struct.pack("<%d%s" % (len(values), letter), *values)
    return with_header(header, data)


def write_safetensors():
    def one(**changes):
        tensor = {"dtype": "I32", "shape": [2], "data_offsets": [0, 8], **changes}
        return with_header({"a": tensor}, b"\1\0\0\0\2\0\0\0")

    files = {
        "good": safetensors({"98_3": ("I64", [2], [1, 2]), "99_3": ("I32", [1, 3], [0, 1, 2])}),
        "metadata": with_header({"__metadata__": {"format": "pt", "x": "y"},
                                 "a": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]}},
                                b"\0\0"),
        "no_tensors": with_header({}),
        "empty_tensor": with_header({"a": {"dtype": "F32", "shape": [0, 4],
                                           "data_offsets": [0, 0]}}),
        "escaped_name": with_header('{"\\u00fc\\n\\"":{"dtype":"U8","shape":[1],'
                                    '"data_offsets":[0,1]}}', b"x"),
        "name_twice": with_header('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                  '"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"xy"),
        "member_twice": with_header('{"a":{"dtype":"U8","dtype":"U8","shape":[1],'
                                    '"data_offsets":[0,1]}}', b"x"),
        "overlap": with_header('{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
                               '"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}', b"xyz"),
        "hole": one(data_offsets=[1, 9]),
        "reversed_offsets": one(data_offsets=[8, 0]),
        "three_offsets": one(data_offsets=[0, 4, 8]),
        "huge_shape": one(shape=[2**62, 2**62]),
        "huge_offset": one(data_offsets=[0, 2**64 - 1]),
        "negative_shape": one(shape=[-2]),
        "unknown_dtype": one(dtype="I128"),
        "half_bytes": one(dtype="F4", shape=[3]),
        "unknown_member": one(more=1),
        "no_object": with_header("[]"),
        "no_json": with_header("{\"a\":"),
        "huge_length": struct.pack("<Q", 2**64 - 1) + b"{}",
        "long_length": struct.pack("<Q", 99_999_999) + b"{}",
        "git_lfs": b"version https://git-lfs.github.com/spec/v1\n",
        "deep": with_header("{" + '"a":[' * 200),
        "empty": b"",
    }
    for name, content in files.items():
        write("safetensors", name, content)


YAML_FILES = {
    "good": "initial_global_assignments:\n  3: [0, 1, 2, 1]\n  4: [2, 1, 0, 0]\n"
            "layer_updates_per_iter: 0\nnum_slots: 4\n",
    "no_assignments": "layer_updates_per_iter: 2\nnum_slots: 288\n",
    "by_hand": "# comment\nnum_slots: 2\ninitial_global_assignments:\n  0:\n  - 0\n  - 1\n",
    "flow": "{num_slots: 2, initial_global_assignments: {0: [0, 1]}}\n",
    "lone_comma": ",u",
    "open_list": "[,u",
    "open_map": "{num_slots: 2, ",
    "list_end": "num_slots: 2\n]\n",
    "two_documents": "num_slots: 2\n---\nnum_slots: 3\n",
    "document_end": "num_slots: 2\n...\nx",
    "directive": "%YAML 1.2\n---\nnum_slots: 2\n",
    "key_twice": "num_slots: 2\nnum_slots: 2\n",
    "unknown_key": "num_slots: 2\nep_size: 2\n",
    "huge_number": "num_slots: 99999999999999999999\n",
    "huge_id": "initial_global_assignments:\n  3: [0, 2147483647]\n"
               "layer_updates_per_iter: 0\nnum_slots: 2\n",
    "negative": "num_slots: -2\n",
    "octal": "num_slots: 010\n",
    "quoted": "num_slots: \"2\"\n",
    "tagged": "num_slots: !!int 2\n",
    "alias": "num_slots: &a 2\nlayer_updates_per_iter: *a\n",
    "alias_of_itself": "initial_global_assignments: &a {0: *a}\nnum_slots: 1\n",
    "nested": "[" * 600,
    "key_of_a_list": "? [0]\n: 1\n",
    "tab": "num_slots:\t2\n\tx: 1\n",
    "empty": "",
}


def write_yaml():
    for name, text in YAML_FILES.items():
        write("eplb_config", name + ".yaml", text)


STREAM_START = ('{"format":"eplb-statistics","version":1,"num_experts":2,"top_k":1,"ep_size":2,'
                '"layers":[3,7],"iter_start":100}\n')
STREAM_LINES = [f'{{"iteration":{iteration},"layer":{layer},"counts":[[1,3],[0,2]]}}\n'
                for iteration in (100, 101) for layer in (3, 7)]
STREAM_END = '{"end":true,"num_iterations":2}\n'
STREAM = STREAM_START + "".join(STREAM_LINES) + STREAM_END


def write_streams():
    files = {
        "good": STREAM,
        "other_order": STREAM_START + "".join(reversed(STREAM_LINES)) + STREAM_END,
        "other_spelling": STREAM.replace(":", " : ").replace(",", "\t, "),
        "slots": STREAM.replace('100}\n{"iter', '100,"ids":"slot","layer_updates_per_iter":2}\n'
                                '{"iter', 1),
        "experts": STREAM.replace('100}\n{"iter', '100,"ids":"expert"}\n{"iter', 1),
        "no_newline": STREAM[:-1],
        "cut_off": STREAM_START + STREAM_LINES[0],
        "no_line": STREAM_START + STREAM_END,
        "twice": STREAM_START + STREAM_LINES[0] * 2 + STREAM_END,
        "after_the_end": STREAM + STREAM_LINES[0],
        "missing_layer": STREAM_START + "".join(STREAM_LINES[:3]) + STREAM_END,
        "missing_iteration": STREAM.replace('"iteration":101', '"iteration":102'),
        "huge_iteration": STREAM.replace('"iteration":101', '"iteration":9223372036854775807'),
        "huge_start": STREAM.replace('"iter_start":100', '"iter_start":9223372036854775807'),
        "huge_shape": STREAM.replace('"num_experts":2', '"num_experts":2147483647')
                            .replace('"ep_size":2', '"ep_size":2147483647'),
        "huge_count": STREAM.replace("[1,3]", "[1,99999999999999999999]"),
        "negative_count": STREAM.replace("[1,3]", "[1,-3]"),
        "float": STREAM.replace("[1,3]", "[1,3.0]"),
        "deep": STREAM.replace("[1,3]", "[" * 500),
        "blank_line": STREAM.replace("\n", "\n\n"),
        "nul": STREAM.replace("\n", "\0\n"),
        "version_2": STREAM.replace('"version":1', '"version":2'),
        "yaml": "num_slots: 2\n",
        "empty": "",
    }
    for name, text in files.items():
        write("statistics_stream", name, text)


def write_options():
    inline = "moe_config:\n  max_num_tokens: 9216\n  load_balancer:\n    num_slots: 2\n"
    files = {
        "inline": inline + "    initial_global_assignments: {3: [0, 1]}\n",
        "path": "moe_config: {load_balancer: no_such_file.yaml}\n",
        "path_of_itself": "moe_config: {load_balancer: .}\n",
        "more": "enable_attention_dp: true\nkv_cache_config:\n  free_fraction: 0.9\n" + inline,
        "anchors": "base: &base {num_slots: 2}\nmoe_config:\n  load_balancer: *base\n",
        "alias_of_itself": "moe_config: &a {load_balancer: *a}\n",
        "strings": "a: |\n  b\n  c\nd: >-\n  e\nf: 'g''h'\ni: \"\\u00fc\\x41\\n\"\n",
        "sets": "? a\n? b\n: c\n? [d, e]\n",
        "tags": "a: !!binary SGVsbG8=\nb: !c {d: !<e> f}\n",
        "no_moe_config": "moe_config:\n",
        "list": "moe_config: {load_balancer: [1]}\n",
        "huge": "moe_config: {max_num_tokens: 99999999999}\n",
        "lone_comma": ",u",
        "null_key": "~: 1\n",
        "merge": "<<: {moe_config: {max_num_tokens: 1}}\n",
        "utf16": "\ufeffmoe_config:".encode("utf-16-le"),
        "empty": "",
    }
    for name, text in files.items():
        write("moe_options", name + ".yaml", text)


def write_time_profiles():
    good = {"format": "eplb-time-profile", "version": 1, "name": "mine", "dtype": "fp8", "t0_us": 20.5,
            "bytes_per_second": 3.8e12, "flop_per_second": 1.2e15, "fit_rms": 0.04}
    for name, change in {"good": {}, "unknown_key": {"t0": 1}, "negative": {"t0_us": -1},
                         "zero": {"bytes_per_second": 0}, "unit": {"flop_per_second": 1200},
                         "text": {"flop_per_second": "1e15"}, "version": {"version": 2},
                         "other_format": {"format": "eplb-config"}, "null": {"fit_rms": None}}.items():
        write("time_profile", name + ".json", json.dumps({**good, **change}))
    write("time_profile", "nan.json", json.dumps({**good, "t0_us": float("nan")}))
    write("time_profile", "huge.json", json.dumps(good).replace("20.5", "1e999"))
    write("time_profile", "empty.json", "")


def write_measurements():
    uniform = "rows,experts,time_us\n1,1,30\n64,4,60\n400,2,60\n800,2,100\n4000,4,420\n"
    write("measurements", "uniform.csv", uniform)
    write("measurements", "listed.csv", "time_us,expert_rows\r\n30,1 0\r\n55,200\n50,200 2\n70,50 400\n90,9 9 9\n")
    write("measurements", "few.csv", uniform[:40])
    write("measurements", "one_load.csv", "rows,experts,time_us\n" + "8,4,30\n" * 5)
    write("measurements", "no_rows.csv", "rows,experts,time_us\n" + "0,4,30\n" * 5)
    for name, number in {"nan": "nan", "negative": "-1", "zero": "0", "huge": "1e999", "text": "x"}.items():
        write("measurements", name + ".csv", uniform + f"8,4,{number}\n")
    write("measurements", "many_experts.csv", uniform + "8,70000,30\n")
    write("measurements", "no_columns.csv", "1,2,3\n")
    write("measurements", "empty.csv", "")


def write_model_configs():
    good = {"hidden_size": 7168, "moe_intermediate_size": 2048, "torch_dtype": "bfloat16"}
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    files = {
        "good": good,
        "fp8": {**good, "quantization_config": fp8},
        "mxfp4": {**good, "quantization_config": {"quant_method": "mxfp4"}},
        "other": {**good, "quantization_config": {"quant_method": "awq"}},
        "odd_blocks": {**good, "quantization_config": {**fp8, "weight_block_size": [0, 1e308]}},
        "text_config": {"text_config": good, "dtype": "float32"},
        "huge": {**good, "hidden_size": 1e308, "moe_intermediate_size": 1e308},
        "negative": {**good, "hidden_size": -1},
        "strings": {key: str(value) for key, value in good.items()},
        "null_dtype": {**good, "torch_dtype": None},
        "list": [],
    }
    for name, content in files.items():
        write("expert_size", name + ".json", json.dumps(content))
    write("expert_size", "deep.json", "[" * 3000)
    write("expert_size", "empty.json", "")


def folder(**files):
    """name with '__' for '.': content"""
    content = b""
    for name, data in files.items():
        data = data if isinstance(data, bytes) else data.encode()
        content += b"\n=== " + name.replace("__", ".").encode() + b"\n" + data
    return content


def write_folders():
    """Two ranks, three experts, top_k 2, and mostly a single cell: each byte is a run."""
    ids = [[0, 1, 1, 2], [2, 0]]
    cells = ("9_3", "9_4", "10_3", "10_4")

    def tensors(dtype, shape, values, keys=("9_3",)):
        return safetensors({key: (dtype, shape, values) for key in sorted(keys)})

    def counts(rank, dtype="I64"):
        return tensors(dtype, [3], [ids[rank].count(expert) for expert in range(3)])

    def selected(rank, dtype="I32"):
        return tensors(dtype, [len(ids[rank]) // 2, 2], ids[rank])

    def num_tokens(rank, more=0):
        return json.dumps({key: len(ids[rank]) // 2 + more for key in ("9_3",)})

    meta = '{"num_experts": 3, "num_experts_per_token": 2%s}'
    plain = {"meta_info__json": meta % "", "rank0__safetensors": counts(0),
             "rank1__safetensors": counts(1)}
    pairs = {"cooccurrence_rank0__safetensors":
             tensors("I32", [3, 3], [1, 1, 0, 1, 2, 1, 0, 1, 1]),
             "cooccurrence_rank1__safetensors":
             tensors("I32", [3, 3], [1, 0, 1, 0, 0, 0, 1, 0, 1])}
    files = {
        "plain": plain,
        "four_cells": {"meta_info__json": meta % "",
                       "rank0__safetensors": tensors("I32", [3], [1, 2, 1], cells),
                       "token_selected_experts_rank0__safetensors":
                       tensors("I32", [2, 2], [0, 1, 1, 2], cells)},
        "narrow": {**plain, "rank0__safetensors": counts(0, "I32"),
                   "rank1__safetensors": counts(1, "I32")},
        "pairs": {**plain, **pairs},
        "selected": {**plain, "token_selected_experts_rank0__safetensors": selected(0),
                     "token_selected_experts_rank1__safetensors": selected(1, "I64")},
        "raw": {**plain, "rank0_raw__safetensors": selected(0),
                "rank1_raw__safetensors": selected(1)},
        "raw_of_last_chunk": {**plain, "rank0_raw__safetensors": selected(1),
                              "rank1_raw__safetensors": selected(1)},
        "raw_of_one_rank": {**plain, "rank0_raw__safetensors": selected(0)},
        "num_tokens": {**plain, "rank0_numtokens__json": num_tokens(0),
                       "rank1_numtokens__json": num_tokens(1)},
        "wrong_num_tokens": {**plain, "rank0_numtokens__json": num_tokens(0, 1),
                             "rank1_numtokens__json": num_tokens(1)},
        "ranks_in_meta": {**plain, "meta_info__json":
                          meta % ', "ep_size": 2, "experts_per_rank": "1", "ids": "expert"'},
        "slots": {**plain, "meta_info__json": meta % ', "ids": "slot", '
                  '"layer_updates_per_iter": 1'},
        "null_meta": {**plain, "meta_info__json": "null"},
        "huge_meta": {**plain, "meta_info__json":
                      '{"num_experts": 2147483647, "num_experts_per_token": 2147483647}'},
        "number_too_large": {**plain, "meta_info__json": '{"num_experts": 1e999}'},
        "num_tokens_too_large": {**plain, "rank0_numtokens__json": '{"9_3": 1e999}',
                                 "rank1_numtokens__json": num_tokens(1)},
        "one_rank": {name: data for name, data in plain.items() if name[:5] != "rank1"},
        "no_rank0": {name: data for name, data in plain.items() if name[:5] != "rank0"},
        "gap": {**plain, "rank0__safetensors":
                safetensors({"9_3": ("I64", [3], [1, 2, 1]), "11_3": ("I64", [3], [1, 2, 1])})},
        "odd_key": {**plain, "rank0__safetensors": safetensors({"9": ("I64", [3], [1, 2, 1])})},
        "huge_key": {"meta_info__json": meta % "", "rank0__safetensors": safetensors(
            {"9223372036854775806_3": ("I64", [3], [1, 2, 1])})},
        "negative_count": {**plain, "rank0__safetensors": tensors("I64", [3], [1, -2, 1])},
        "not_routed": {"meta_info__json": meta % "",
                       "rank0__safetensors": tensors("I64", [3], [1, 2, 0]),
                       "rank0_raw__safetensors": tensors("I32", [2, 2], [0, 1, 1, -1])},
        "no_tokens": {"meta_info__json": meta % "",
                      "rank0__safetensors": tensors("I64", [3], [0, 0, 0]),
                      "rank0_raw__safetensors": tensors("I32", [0, 2], [])},
    }
    for name, content in files.items():
        write("trtllm_folder", name, folder(**content))


def write_datasets():
    files = {
        "good": '{"task_id":0,"input_ids":[1,2,3],"output_tokens":4}\n'
                '{"task_id":1,"input_ids":[999],"output_ids":[0],"output_tokens":1}\n',
        "older_name": '{"logits":[1,2]}\n\n{"logits":[3]}',
        "prompt": '{"task_id":0,"prompt":"text","output_tokens":4}\n',
        "one_document": '{"metadata":{},"samples":[{"input_ids":[1]}]}',
        "outside": '{"input_ids":[1000]}\n',
        "negative": '{"input_ids":[-1]}\n',
        "huge": '{"input_ids":[18446744073709551615]}\n',
        "float": '{"input_ids":[1.0]}\n',
        "nested": '{"input_ids":[[1]]}\n',
        "no_ids": '{"input_ids":[]}\n',
        "null_output": '{"input_ids":[1],"output_ids":null}\n',
        "list": "[1]\n",
        "deep": "[" * 3000,
        "blank": " \n\n",
        "empty": "",
    }
    for name, text in files.items():
        write("dataset", name + ".json", text)


def write_model_config_files():
    for model in ("deepseek_v3", "glm4_moe", "gpt_oss", "kimi_k2", "minimax_m2_fp8", "mixtral",
                  "olmoe", "qwen2_moe", "qwen3_moe"):
        with open(os.path.join(MODELS, model, "config.json"), "rb") as file:
            write("model_config", model + ".json", file.read())
    with open(os.path.join(MODELS, "deepseek_v3", "config.json"), encoding="utf-8") as file:
        good = json.load(file)
    files = {
        "unknown": {**good, "model_type": "none"},
        "no_type": {"hidden_size": 1},
        "huge": {**good, "num_hidden_layers": 2**31 - 1, "n_routed_experts": 2**31 - 1},
        "zero": {key: 0 if isinstance(value, int) else value for key, value in good.items()},
        "null": {key: None if key != "model_type" else value for key, value in good.items()},
        "list": [good],
    }
    for name, content in files.items():
        write("model_config", name + ".json", json.dumps(content))
    write("model_config", "deep.json", "[" * 3000)
    write("model_config", "empty.json", "")


def write_run_states():
    def state(numbers, **changes):
        return safetensors({"fingerprint": ("U8", [3], list(b"run")),
                            "numbers": ("I64", [len(numbers)], numbers),
                            "hidden": ("F32", [2], [0.5, -1.0]), "counts": ("I64", [2], [3, 4]),
                            "slot_ids.0": ("I32", [2], [1, 0]), **changes})

    files = {
        "good": state([5, 1, 2, 1]),
        "without_ids": state([5, 1, 2, 0]),
        "no_tokens": state([5, 1, 2, 1], **{"slot_ids.0": ("I32", [0], [])}),
        "huge_layer": state([2**40, 1, 2, 1]),
        "negative": state([5, -1, 2, -1]),
        "too_many_ids": state([5, 1, 2, 2**62]),
        "three_numbers": state([5, 1, 2]),
        "other_run": state([5, 1, 2, 1], fingerprint=("U8", [1], [0])),
        "other_dtype": state([5, 1, 2, 1], hidden=("I32", [1], [0])),
        "other_file": safetensors({"weights": ("F32", [1], [0])}),
        "empty": b"",
    }
    for name, content in files.items():
        write("run_state", name, content)


if __name__ == "__main__":
    write_safetensors()
    write_yaml()
    write_streams()
    write_options()
    write_model_configs()
    write_folders()
    write_datasets()
    write_model_config_files()
    write_run_states()
    write_time_profiles()
    write_measurements()
