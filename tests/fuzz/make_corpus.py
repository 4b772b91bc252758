#!/usr/bin/env python3
"""Writes the first files of data/corpus: good ones, and one of each kind of bad one.

Nothing is expected of the content but that readers survive it, so nothing here need be exact.
"""

import json
import os
import struct

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data", "corpus")

ITEM_SIZES = {"I64": 8, "I32": 4}


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
        end = len(data) + ITEM_SIZES[dtype] * len(values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), end]}
        data += struct.pack("<%d%s" % (len(values), {"I64": "q", "I32": "i"}[dtype]), *values)
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


if __name__ == "__main__":
    write_safetensors()
    write_yaml()
