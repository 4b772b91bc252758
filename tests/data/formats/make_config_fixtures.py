#!/usr/bin/env python3
"""Writes tests/data/formats/configs: one small placement in the format of every engine, built here
from each engine's documented rules, and broken.json, texts that must be refused, each with what a
message about it must say. The same texts are the corpora in data/corpus that fuzzing starts from."""

import copy
import json
import pathlib

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
FOLDER = ROOT / "tests" / "data" / "formats" / "configs"

# a model of five decoder layers, of which 1, 2 and 4 are MoE layers; six experts on four ranks
NUM_HIDDEN_LAYERS = 5
NUM_EXPERTS = 6
RANKS = {
    1: [[0, 1], [2, 3], [4, 5], [0, 2]],
    2: [[5, 4], [3, 2], [1, 0], [5, 3]],
    4: [[0, 3], [1, 4], [2, 5], [1, 0]],
}
EP_SIZE = 4
NUM_SLOTS = 8
SLOTS = {layer: [expert for rank in ranks for expert in rank] for layer, ranks in RANKS.items()}


def sglang():
    dense = [slot % NUM_EXPERTS for slot in range(NUM_SLOTS)]
    return {"physical_to_logical_map": [SLOTS.get(layer, dense)
                                        for layer in range(NUM_HIDDEN_LAYERS)]}


def vllm_ascend():
    return {"moe_layer_count": len(RANKS),
            "layer_list": [{"layer_id": position,
                            "device_count": EP_SIZE,
                            "device_list": [{"device_id": device, "device_expert": experts}
                                            for device, experts in enumerate(ranks)]}
                           for position, ranks in enumerate(RANKS.values())]}


def hygon_legacy():
    return {"physical_to_logical_map": list(SLOTS.values())}


def hygon():
    main = {**hygon_legacy(), "num_logical_experts": NUM_EXPERTS,
            "num_redundant_experts": NUM_SLOTS - NUM_EXPERTS, "num_physical_experts": NUM_SLOTS,
            "num_moe_layers": len(SLOTS), "model_class": "DeepseekV3ForCausalLM"}
    return {"model_maps": {"main": main, "mtp": {"physical_to_logical_map": [SLOTS[4]]}}}


def plain():
    return {"format": "eplb-config", "version": 1, "num_experts": NUM_EXPERTS, "ep_size": EP_SIZE,
            "num_slots": NUM_SLOTS, "layer_updates_per_iter": 0,
            "layers": [{"layer": 1, "assignment": RANKS[1], "algorithm": "risk",
                        "metrics": {"aggregated": 0.125, "predicted": 0.25}},
                       {"layer": 2, "assignment": RANKS[2], "algorithm": "aggregated"},
                       {"layer": 4, "assignment": RANKS[4]}],
            "metrics": {"aggregated": 0.1, "bound": 0, "noise_floor": 1e-3, "fitted": 0.2,
                        "predicted": 0.3, "predicted_greedy": 0.7},
            "provenance": {"inputs": ["stats/a", "stats/\u00fc"], "flags": ["--ep_size", "4"],
                           "version": "0.1.0"}}


ONLINE = {"format": "eplb-config", "version": 1, "num_slots": NUM_SLOTS,
          "layer_updates_per_iter": 2}


def trtllm():
    return {"num_slots": NUM_SLOTS, "layer_updates_per_iter": 0, "initial_global_assignments": SLOTS}


def changed(value, path, new):
    """A copy with the value behind a path of keys and positions replaced; ... removes it."""
    value = copy.deepcopy(value)
    place = value
    for step in path[:-1]:
        place = place[step]
    if new is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = new
    return value


MAP = "physical_to_logical_map"


def broken_rows(form, document, path):
    """Faults that every list of slots may have; path leads to one of the last layer, which holds
    the layer's only slot of expert 5."""
    row = document
    for step in path:
        row = row[step]
    yield form, changed(document, path, row[:-1]), "slots where"
    yield form, changed(document, path, row + [0]), "slots where"
    yield form, changed(document, path, []), "slots where"
    yield form, changed(document, path, 3), "must be a list"
    yield form, changed(document, path + [0], 6), "outside [0, 6)"
    yield form, changed(document, path, [0 if i == 5 else i for i in row]), "expert 5 has no slot"
    for value in (-1, 1.0, True, None, "1", [1], 2**20, 2**31, 2**32, 2**63, 2**64, 1e300):
        yield form, changed(document, path + [0], value), "must be an integer from 0 to 1048575"


def broken():
    """(format, document, what the message must contain)"""
    yield from broken_rows("sglang", sglang(), [MAP, 4])
    yield from broken_rows("vllm-ascend", vllm_ascend(),
                           ["layer_list", 2, "device_list", 2, "device_expert"])
    yield from broken_rows("hygon", hygon(), ["model_maps", "main", MAP, 2])
    yield from broken_rows("hygon", hygon_legacy(), [MAP, 2])
    yield from broken_rows("plain", plain(), ["layers", 2, "assignment", 2])

    yield "sglang", {**sglang(), "comment": "x"}, "with which SGLang does not start"
    yield "sglang", {"logical_count": [[1] * 6] * 5}, "holds counts"
    yield "sglang", {}, "\"physical_to_logical_map\" is missing"
    yield "sglang", [], "must be an object"
    yield "sglang", {MAP: []}, "is empty"
    yield "sglang", {MAP: [[]] * 5}, "is empty"
    yield "sglang", {MAP: sglang()[MAP][:-1]}, "has 4 rows where the model has 5"
    yield "sglang", {MAP: sglang()[MAP] + [SLOTS[4]]}, "has 6 rows where the model has 5"
    yield "sglang", changed(sglang(), [MAP, 0, 0], 6), "row 0 (a dense layer): expert id 6"

    ascend = vllm_ascend()
    yield "vllm-ascend", changed(ascend, ["moe_layer_count"], ...), "\"moe_layer_count\" is missing"
    yield "vllm-ascend", changed(ascend, ["moe_layer_count"], 4), "layer_list has 3 entries"
    yield "vllm-ascend", changed(ascend, ["layer_list"], ...), "\"layer_list\" is missing"
    yield "vllm-ascend", changed(ascend, ["layer_list"], {}), "must be a list"
    yield "vllm-ascend", changed(ascend, ["layer_list", 1], 5), "must be an object"
    yield ("vllm-ascend", {"moe_layer_count": 2, "layer_list": ascend["layer_list"][:2]},
           "2 MoE layers by position where the model has 3")
    layer = ["layer_list", 1]
    yield "vllm-ascend", changed(ascend, layer + ["layer_id"], ...), "\"layer_id\" is missing"
    yield "vllm-ascend", changed(ascend, layer + ["layer_id"], "1"), "layer_id is"
    yield "vllm-ascend", changed(ascend, layer + ["device_count"], 3), "device_list has 4 entries"
    yield "vllm-ascend", changed(ascend, layer + ["device_list"], []), "has 0 entries"
    fewer = changed(ascend, layer + ["device_list"], ascend["layer_list"][1]["device_list"][:3])
    yield ("vllm-ascend", changed(fewer, layer + ["device_count"], 3),
           "has 3 devices where entry 0 has 4")
    device = layer + ["device_list", 2]
    yield "vllm-ascend", changed(ascend, device + ["device_id"], 3), "device_id is not 2"
    yield "vllm-ascend", changed(ascend, device + ["device_id"], 2.0), "device_id is"
    yield "vllm-ascend", changed(ascend, device + ["device_expert"], ...), "is missing"

    model = ["model_maps", "main"]
    yield "hygon", changed(hygon(), ["model_maps"], {}), "model_maps is empty"
    yield "hygon", changed(hygon(), ["model_maps"], []), "must be an object"
    yield "hygon", changed(hygon(), model, ...), "has no model \"main\"; it has \"mtp\""
    yield "hygon", changed(hygon(), model, [1]), "must be an object"
    yield "hygon", changed(hygon(), model + [MAP], ...), "is missing"
    yield "hygon", changed(hygon(), model + [MAP], []), "is empty"
    yield "hygon", changed(hygon(), model + [MAP], [SLOTS[1]]), "1 MoE layers by position"
    yield "hygon", changed(hygon(), model + ["num_logical_experts"], 7), "num_experts 7, not 6"
    for key, right in (("num_redundant_experts", 2), ("num_physical_experts", 8),
                       ("num_moe_layers", 3)):
        yield ("hygon", changed(hygon(), model + [key], right + 1),
               f"{key} is declared as {right + 1}, the map has {right}")
    for key in ("num_logical_experts", "num_redundant_experts", "num_physical_experts",
                "num_moe_layers"):
        for value in (True, 2.0, "2", -1, None):
            yield "hygon", changed(hygon(), model + [key], value), f"{key} is "
    yield "hygon", changed(hygon(), model + ["model_class"], 1), "must be a string"

    for key in ("format", "version"):
        yield "plain", changed(plain(), [key], ...), "is missing"
    yield "plain", changed(plain(), ["format"], "eplb"), "format must be"
    yield "plain", changed(plain(), ["version"], 2), "newer tool"
    yield "plain", changed(plain(), ["version"], 0), "version is 0"
    yield "plain", {**plain(), "slots": 8}, "unknown key \"slots\""
    yield "plain", changed(plain(), ["num_experts"], 5), "is for num_experts 5, not 6"
    yield "plain", changed(plain(), ["ep_size"], 2), "4 ranks where ep_size is 2"
    yield "plain", changed(plain(), ["num_slots"], 12), "8 slots where num_slots is 12"
    yield "plain", changed(plain(), ["num_slots"], 0), "num_slots is 0"
    yield "plain", changed(plain(), ["layer_updates_per_iter"], -1), "layer_updates_per_iter is -1"
    yield "plain", changed(plain(), ["layers"], {}), "must be a list"
    yield "plain", {"format": "eplb-config", "version": 1}, "neither layers nor num_slots"
    yield "plain", {"format": "eplb-config", "version": 1, "layers": []}, "neither layers nor"
    yield "plain", changed(plain(), ["layers", 1, "layer"], 1), "stands there twice"
    yield "plain", changed(plain(), ["layers", 1, "layer"], -1), "layer is -1"
    yield "plain", changed(plain(), ["layers", 1, "layer"], ...), "\"layer\" is missing"
    yield "plain", changed(plain(), ["layers", 1, "assignment"], ...), "is missing"
    yield "plain", changed(plain(), ["layers", 1, "assignment"], []), "is empty"
    yield "plain", changed(plain(), ["layers", 1, "algorithm"], 3), "must be a string"
    yield "plain", changed(plain(), ["layers", 1, "note"], "x"), "unknown key \"note\""
    yield "plain", changed(plain(), ["metrics"], []), "must be an object"
    yield "plain", changed(plain(), ["metrics", "bound"], "0"), "bound must be a number"
    yield "plain", changed(plain(), ["metrics", "p90"], 0), "unknown key \"p90\""
    yield "plain", changed(plain(), ["provenance", "inputs"], "a"), "must be a list"
    yield "plain", changed(plain(), ["provenance", "flags"], [1]), "must be a string"
    yield "plain", changed(plain(), ["provenance", "host"], "a"), "unknown key \"host\""


# what the schema leaves to readers: numbers that must agree, and layers that must differ
BEYOND_SCHEMA = ("slots where", "outside [0", "has no slot", "is for num_experts",
                 "ranks where ep_size", "stands there twice")


MODEL = {"num_hidden_layers": 6, "num_experts_per_tok": 2}
MODELS = (
    {**MODEL, "num_local_experts": 8},
    {**MODEL, "n_routed_experts": 8, "first_k_dense_replace": 1, "moe_layer_freq": 2,
     "num_nextn_predict_layers": 1},
    {**MODEL, "n_routed_experts": 8, "moe_layer_freq": [0, 1, 1, 0, 1, 1]},
    {**MODEL, "num_experts": 8, "decoder_sparse_step": 2, "mlp_only_layers": [1]},
    {**MODEL, "n_routed_experts": 8, "mlp_layer_types": ["dense", "hash_moe", "moe"] * 2},
    {**MODEL, "num_local_experts": 8, "interleave_moe_layer_step": 2, "moe_layers": [1, 3]},
    {"text_config": {**MODEL, "num_experts": 8}, "vision_config": {"num_hidden_layers": 2}},
    # and what is refused
    MODEL,
    {**MODEL, "num_experts": 1},
    {**MODEL, "num_experts": 8, "num_local_experts": 9},
    {**MODEL, "num_experts": 8, "expert_layer_period": 2},
    {**MODEL, "num_experts": 8, "first_k_dense_replace": 6},
    {**MODEL, "num_experts": 8, "mlp_layer_types": ["dense"]},
)
MOST_FAULTS_IN_CORPUS = 20


def write_corpora(cases):
    corpora = {"sglang_config": ("sglang", [sglang()]),
               "vllm_ascend_map": ("vllm-ascend", [vllm_ascend()]),
               "hygon_map": ("hygon", [hygon(), hygon_legacy()]),
               "plain_config": ("plain", [plain(), ONLINE]),
               "model_shape": (None, MODELS)}
    for name, (form, documents) in corpora.items():
        folder = ROOT / "data" / "corpus" / name
        folder.mkdir(parents=True, exist_ok=True)
        # one of each kind of fault
        faults = {case["says"]: case["text"] for case in cases if case["format"] == form}
        texts = [json.dumps(document) for document in documents]
        texts += list(faults.values())[:MOST_FAULTS_IN_CORPUS]
        texts.append(texts[0][:-9])
        for i, text in enumerate(texts):
            (folder / f"{i:02}.json").write_text(text + "\n", encoding="utf-8")


def write(name, text):
    (FOLDER / name).write_text(text, encoding="utf-8")


def main():
    schema = json.loads((ROOT / "data" / "config.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(plain(), schema)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for make in (sglang, vllm_ascend, hygon, hygon_legacy, plain):
        write(make.__name__ + ".json", json.dumps(make()) + "\n")
    jsonschema.validate(ONLINE, schema)
    write("plain_online.json", json.dumps(ONLINE, indent=2) + "\n")
    write("trtllm.yaml", yaml.dump(trtllm(), default_flow_style=None))
    cases = []
    for form, document, says in broken():
        if form == "plain" and not any(part in says for part in BEYOND_SCHEMA):
            valid = jsonschema.Draft202012Validator(schema).is_valid(document)
            # 1.0 is an integer to the schema's language, not to readers
            assert not valid or "must be an integer" in says, (document, says)
        cases.append({"format": form, "text": json.dumps(document), "says": says})
    write("broken.json", "[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")
    write_corpora(cases)


if __name__ == "__main__":
    main()
