#!/usr/bin/env python3
"""Published DeepSeek-R1 counts to a config of every engine, for 36 ranks and 288 slots.

Each file is checked here by the engine's own documented rules, written down anew: nothing of the
tools' readers is used. Takes the real counts where they are, else made-up ones of the same shape.

usage: test_engines.py FOLDER_OF_TOOLS
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "data" / "models" / "deepseek-r1" / "config.json"
NUM_EXPERTS, NUM_LAYERS, FIRST_MOE_LAYER = 256, 61, 3
EP_SIZE, NUM_SLOTS = 36, 288
SLOTS_PER_RANK = NUM_SLOTS // EP_SIZE
# of these formats, in the words of --output_format
ENGINES = ["trtllm", "sglang", "vllm-ascend", "hygon"]


def check(holds, what):
    if not holds:
        sys.exit(f"FAILED: {what}")


def made_up_counts(folder):
    """Skewed counts; dense layers are rows of zeros, as SGLang records them."""
    generator = random.Random(7)
    rows = [[0] * NUM_EXPERTS] * FIRST_MOE_LAYER
    rows += [[int(1e6 * generator.lognormvariate(0, 0.7)) for _ in range(NUM_EXPERTS)]
             for _ in range(NUM_LAYERS - FIRST_MOE_LAYER)]
    path = folder / "made_up.json"
    path.write_text(json.dumps({"logical_count": rows}))
    return path


def reject_twice(pairs):
    keys = [key for key, _ in pairs]
    check(len(keys) == len(set(keys)), f"a key twice among {keys}")
    return dict(pairs)


def load_json(path):
    return json.loads(path.read_text(), object_pairs_hook=reject_twice)


def is_integer(value):
    return type(value) is int  # no bool, no float


def placements_of_trtllm(path):
    """The text as PyYAML writes it: three keys in the order of the alphabet, lists inline."""
    lines = path.read_text().splitlines()
    check(lines[0] == "initial_global_assignments:", "trtllm: first line")
    check(lines[-2:] == ["layer_updates_per_iter: 0", f"num_slots: {NUM_SLOTS}"], "trtllm: end")
    layers = {}
    for line in lines[1:-2]:
        layer, expert_ids = line.split(": ", 1)
        layers[int(layer)] = json.loads(expert_ids)
    return layers


def placements_of_sglang(path):
    """One key; a row for every decoder layer; slot p is on rank p // (P / ep_size)."""
    content = load_json(path)
    check(list(content) == ["physical_to_logical_map"], "sglang: one key and no other")
    rows = content["physical_to_logical_map"]
    check(len(rows) == NUM_LAYERS, "sglang: a row per decoder layer")
    for row in rows[:FIRST_MOE_LAYER]:
        check(row == [slot % NUM_EXPERTS for slot in range(NUM_SLOTS)], "sglang: trivial dense rows")
    return dict(enumerate(rows[FIRST_MOE_LAYER:], FIRST_MOE_LAYER))


def placements_of_vllm_ascend(path):
    """MoE layers by position; all devices hold equally many; no expert twice on one."""
    content = load_json(path)
    check(content["moe_layer_count"] == len(content["layer_list"]) == NUM_LAYERS - FIRST_MOE_LAYER,
          "vllm-ascend: number of layers")
    layers = {}
    for position, layer in enumerate(content["layer_list"]):
        devices = layer["device_list"]
        check(layer["layer_id"] == position, "vllm-ascend: layers in order")
        check(layer["device_count"] == len(devices) == EP_SIZE, "vllm-ascend: devices")
        check([device["device_id"] for device in devices] == list(range(EP_SIZE)),
              "vllm-ascend: devices in order")
        for device in devices:
            ids = device["device_expert"]
            check(len(ids) == SLOTS_PER_RANK, "vllm-ascend: devices of equal length")
            check(len(set(ids)) == len(ids), "vllm-ascend: replicas on different devices")
        layers[FIRST_MOE_LAYER + position] = [e for device in devices
                                              for e in device["device_expert"]]
    return layers


def placements_of_hygon(path):
    """v2: exact (layers, E + R), and what the file says of itself must agree."""
    content = load_json(path)
    check(list(content) == ["model_maps"] and list(content["model_maps"]) == ["DeepSeek"],
          "hygon: one model")
    model = content["model_maps"]["DeepSeek"]
    rows = model["physical_to_logical_map"]
    for key, value in {"num_logical_experts": NUM_EXPERTS,
                       "num_physical_experts": NUM_SLOTS,
                       "num_redundant_experts": NUM_SLOTS - NUM_EXPERTS,
                       "num_moe_layers": len(rows)}.items():
        check(model.get(key, value) == value, f"hygon: {key}")
    return dict(enumerate(rows, FIRST_MOE_LAYER))


def placements_of_plain(path):
    content = load_json(path)
    check(content["format"] == "eplb-config" and content["num_slots"] == NUM_SLOTS, "plain: head")
    return {layer["layer"]: [e for rank in layer["assignment"] for e in rank]
            for layer in content["layers"]}


READERS = {"trtllm": placements_of_trtllm, "sglang": placements_of_sglang,
           "vllm-ascend": placements_of_vllm_ascend, "hygon": placements_of_hygon,
           "plain": placements_of_plain}


def check_layers(layers, name):
    check(list(layers) == list(range(FIRST_MOE_LAYER, NUM_LAYERS)), f"{name}: layers 3 to 60")
    for layer, expert_ids in layers.items():
        check(len(expert_ids) == NUM_SLOTS, f"{name}: {NUM_SLOTS} slots in layer {layer}")
        check(all(is_integer(e) and 0 <= e < NUM_EXPERTS for e in expert_ids),
              f"{name}: ids in layer {layer}")
        check(len(set(expert_ids)) == NUM_EXPERTS, f"{name}: every expert in layer {layer}")


def main():
    tools = pathlib.Path(sys.argv[1]).resolve()

    def run(tool, *arguments):
        done = subprocess.run([tools / tool, *map(str, arguments)], capture_output=True, text=True,
                              check=False)
        check(done.returncode == 0, f"{tool} {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    real = ROOT.parent / "shared" / "data" / "deepseek-r1"
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        inputs = sorted(real.glob("*.json")) or [made_up_counts(folder)]
        for path in inputs:
            table = run("eplb-report", path, "--first_moe_layer", FIRST_MOE_LAYER, "--ep_size", 32)
            check(len(table.splitlines()) >= NUM_LAYERS - FIRST_MOE_LAYER, "report: a row per layer")
            first = None
            for engine, reader in READERS.items():
                output = folder / ("trtllm.yaml" if engine == "trtllm" else f"{engine}.json")
                run("eplb-gen", path, "--model_config", MODEL, "--ep_size", EP_SIZE, "--num_slots",
                    NUM_SLOTS, "--output_format", engine, "--model_key", "DeepSeek", "-o", output)
                layers = reader(output)
                check_layers(layers, engine)
                first = first or layers
                check(layers == first, f"{engine}: the same placement as trtllm's")
                if engine in ENGINES:
                    run("eplb-gen", "--validate", output, "--for", engine, "--model_config", MODEL,
                        "--ep_size", EP_SIZE)
                # and back: what one engine runs, another can
                run("eplb-gen", "--convert", output, "--model_config", MODEL, "--ep_size", EP_SIZE,
                    "-o", folder / "back")
                check((folder / "back").read_bytes() == (folder / "trtllm.yaml").read_bytes(),
                      f"{engine}: converted back")
            print(f"{path.name}: {', '.join(READERS)}: {NUM_SLOTS} slots on {EP_SIZE} ranks")


if __name__ == "__main__":
    main()
