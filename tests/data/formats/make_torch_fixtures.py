#!/usr/bin/env python3
"""Writes tests/data/formats/torch: files that torch.save wrote, and expected.json, what is in them.

stat*.pt      dicts as SGLang's recorder dumps them in mode stat: 5 steps of 6 layers and 8 experts,
              of which some are unused; layer 0 is dense
per_pass/     a dump per rank of mode per_pass: 4 ranks, 3 passes, 12 slots for 8 experts
per_token/    one of mode per_token: 2 ranks, no redundant slots, pass ids with gaps
dtypes.pt     a tensor of every dtype and of odd shapes and strides
others        archives repacked by zipfile, what is refused, and one that asks for a call

Needs torch and numpy. The numbers in expected.json come from numpy, by loops over slots.
"""

import collections
import io
import json
import os
import pathlib
import shutil
import zipfile

import numpy
import torch

FOLDER = pathlib.Path(__file__).resolve().parent / "torch"
NUM_LAYERS, NUM_EXPERTS, NUM_SLOTS = 6, 8, 12


def save(value, name, **options):
    """As a dump of a GPU's process: the storages are saved with the device that they were on."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    location_tag = torch.serialization.location_tag
    torch.serialization.location_tag = lambda storage: "cuda:0"
    try:
        torch.save(value, path, **options)
    finally:
        torch.serialization.location_tag = location_tag


# ------------------------------------------------------------------------------------------- stat


def stat_counts(random, used):
    counts = random.integers(0, 100, (5, NUM_LAYERS, NUM_EXPERTS))
    counts[:, 0, :] = 0
    for step in range(5):
        if step not in used:
            counts[step] = 0
    return counts


def write_stat(random):
    expected = {}

    def add(name, used, convert, make=dict, extra=(), **options):
        counts = stat_counts(random, used)
        save(make([("rank", 0), ("logical_count", convert(counts)), *extra]), name, **options)
        expected[name] = counts[used].tolist()

    def int32(counts):
        return torch.tensor(counts, dtype=torch.int32)

    def view(counts):
        """The counts amid other numbers, with dimensions in another order."""
        stored = torch.full((NUM_EXPERTS + 3, 7, NUM_LAYERS + 1), -1, dtype=torch.int64)
        inner = stored[2:-1, 1:6, 1:].permute(1, 2, 0)
        inner.copy_(torch.tensor(counts))
        assert not inner.is_contiguous() and inner.storage_offset() > 0
        return inner

    utilization = ("average_utilization_rate_over_window", 0.875)
    add("stat.pt", [0, 1, 2], int32, extra=[utilization])
    add("stat_no_window.pt", [0, 1], int32, extra=[("average_utilization_rate_over_window", None)])
    add("stat_wrapped.pt", [0, 3, 4], lambda c: torch.tensor(c), make=collections.OrderedDict)
    add("stat_full.pt", [0, 1, 2, 3, 4], lambda c: torch.tensor(c, dtype=torch.float32))
    add("stat_view.pt", [0, 1, 2, 3], view)
    for protocol in (3, 4, 5):
        add(f"stat_protocol{protocol}.pt", [0], int32, extra=[utilization],
            pickle_protocol=protocol)
    return expected


# ----------------------------------------------------------------------------------------- passes


def write_passes(random, folder, pass_ids, num_ranks, slot_experts, per_token):
    """slot_experts: [layers][slots]. Returns counts per expert, [passes][layers][ranks][experts]."""
    num_layers, num_slots = slot_experts.shape
    expected = numpy.zeros((len(pass_ids), num_layers, num_ranks, NUM_EXPERTS), dtype=int)
    for rank in range(num_ranks):
        records = []
        for i, pass_id in enumerate(pass_ids):
            counts = random.integers(0, 50, (num_layers, num_slots))
            for layer in range(num_layers):
                for slot in range(num_slots):
                    expected[i][layer][rank][slot_experts[layer][slot]] += counts[layer][slot]
            record = {"forward_pass_id": pass_id, "rank": rank, "gatherer_key": "primary",
                      "global_physical_count": torch.tensor(counts, dtype=torch.int32)}
            if per_token:
                topk_ids = torch.full((num_layers, 4, 8), -1, dtype=torch.int32)
                record |= {"input_ids": [1, 300, 70000, 2], "positions": [0, 1, 2, 3],
                           "extend_seq_lens": [4], "forward_mode": 1,
                           "topk_ids_of_layer": topk_ids,
                           "misc_objects": [{"layer_id": 1, "num_tokens_per_rank": [1, 2],
                                             "num_tokens_per_rdma_rank": None}]}
            records.append(record)
        save({"records": records, "last_physical_to_logical_map": torch.tensor(slot_experts)},
             f"{folder}/expert_distribution_recorder_1700000000.{rank}5_{rank}.pt")
    return expected.tolist()


# ----------------------------------------------------------------------------------------- others


def write_dtypes():
    tensors = {
        "uint8": torch.tensor([0, 1, 255], dtype=torch.uint8),
        "int8": torch.tensor([-128, -1, 127], dtype=torch.int8),
        "int16": torch.tensor([-32768, -1, 32767], dtype=torch.int16),
        "int32": torch.tensor([-(2**31), -1, 2**31 - 1], dtype=torch.int32),
        "int64": torch.tensor([-(2**63), -1, 2**63 - 1], dtype=torch.int64),
        "bool": torch.tensor([True, False, True]),
        "float16": torch.tensor([0, -2048, 65504, 1], dtype=torch.float16),
        "bfloat16": torch.tensor([0, -3, 2.0**60, 1], dtype=torch.bfloat16),
        "float32": torch.tensor([0, -16777215, 2.0**62], dtype=torch.float32),
        "float64": torch.tensor([0, -(2.0**53) + 1, 2.0**62], dtype=torch.float64),
        "number": torch.tensor(7),
        "empty": torch.zeros((0, 3), dtype=torch.int64),
        "transposed": torch.arange(6).reshape(2, 3).t(),
        "every_other": torch.arange(20)[3:14:2],
        "one_row": torch.arange(12).reshape(3, 4)[1:2],
    }
    refused = {
        "half": torch.tensor([1, 2.5]),
        "infinite": torch.tensor([float("inf")], dtype=torch.float64),
        "not_a_number": torch.tensor([float("nan")], dtype=torch.float16),
        "too_large": torch.tensor([2.0**63], dtype=torch.float32),
        "expanded": torch.tensor([5]).expand(1000),
    }
    save({"good": tensors, "refused": refused, "texts": ["a", "ä", ""], "none": None,
          "flags": (True, False), "numbers": [0, 255, 256, 65535, 65536, -1, 2**31, -(2**63)],
          "real": -0.375, "nested": [[], {}, ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))]},
         "dtypes.pt")
    return {name: {"shape": list(tensor.shape), "values": [int(x) for x in tensor.flatten()]}
            for name, tensor in tensors.items()}


class Pipe(io.RawIOBase):
    """A file that cannot be sought in, so that zipfile writes sizes behind the data."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)


def repack(source, name, compression=zipfile.ZIP_STORED, change=None, is_streamed=False):
    with zipfile.ZipFile(FOLDER / source) as old, open(FOLDER / name, "wb") as file:
        with zipfile.ZipFile(Pipe(file) if is_streamed else file, "w", compression) as new:
            for entry in old.infolist():
                data = old.read(entry)
                entry.compress_type = compression
                entry.extra = b""
                new.writestr(entry, change(entry.filename, data) if change else data)


class Call:
    """Unpickling this runs a command."""

    def __reduce__(self):
        return os.system, ("echo executed",)


def write_others(random):
    counts = {"rank": 0, "logical_count": torch.tensor(stat_counts(random, [0]))}
    save(counts, "legacy.pt", _use_new_zipfile_serialization=False)
    save({"logical_count": Call()}, "call.pt")
    save({"weights": torch.zeros(2)}, "no_dump.pt")
    save(torch.zeros(2), "no_dict.pt")
    repack("stat.pt", "compressed.pt", zipfile.ZIP_DEFLATED)
    repack("stat.pt", "streamed.pt", is_streamed=True)
    repack("stat.pt", "big_endian.pt",
           change=lambda name, data: b"big" if name.endswith("/byteorder") else data)
    limit = zipfile.ZIP64_LIMIT
    zipfile.ZIP64_LIMIT = 0  # every size and offset above 0 goes to the zip64 records
    try:
        repack("stat.pt", "zip64.pt")
    finally:
        zipfile.ZIP64_LIMIT = limit


def main():
    random = numpy.random.default_rng(20)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    expected = {"stat": write_stat(random)}

    # every expert once, and four of them twice, in another order in each layer
    experts = numpy.concatenate([numpy.arange(NUM_EXPERTS), [1, 1, 6, 3]])
    placement = numpy.stack([random.permutation(experts) for _ in range(NUM_LAYERS)])
    expected["per_pass"] = write_passes(random, "per_pass", [10, 11, 12], 4, placement, False)
    identity = numpy.stack([numpy.arange(NUM_EXPERTS)] * 2)
    expected["per_token"] = write_passes(random, "per_token", [3, 4, 7], 2, identity, True)

    expected["dtypes"] = write_dtypes()
    write_others(random)
    (FOLDER / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
