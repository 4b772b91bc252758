#!/usr/bin/env python3
"""What eplb-report --format json writes, against data/report.schema.json.

usage: test_report_schema.py TOOLS_FOLDER. Skipped where the package jsonschema is not installed.
"""

import copy
import importlib.util
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REPORT = pathlib.Path(sys.argv.pop(1)).resolve() / "eplb-report"
RECORDING = ROOT / "tests" / "data" / "formats" / "trtllm"  # with routed ids, of few iterations
SCHEMA = json.loads((ROOT / "data" / "report.schema.json").read_text(encoding="utf-8"))
SKIPPED = 77

# of RECORDING and the streams
NUM_EXPERTS, NUM_RANKS, LAYERS = 8, 2, (3, 10)


def write_stream(path, seed, num_iterations, empty=()):
    """Counts that have no meaning; `empty` are iterations without tokens."""
    numbers = random.Random(seed)
    lines = [{"format": "eplb-statistics", "version": 1, "num_experts": NUM_EXPERTS, "top_k": 2,
              "ep_size": NUM_RANKS, "layers": LAYERS, "iter_start": 100}]
    for iteration in range(100, 100 + num_iterations):
        for layer in LAYERS:
            counts = [[0 if iteration in empty else numbers.randrange(1 + expert * 20)
                       for expert in range(NUM_EXPERTS)] for _ in range(NUM_RANKS)]
            lines.append({"iteration": iteration, "layer": layer, "counts": counts})
    lines.append({"end": True, "num_iterations": num_iterations})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_sums(path, seed):
    """As SGLang dumps them: no top_k and no source ranks; decoder layers 0 to 10."""
    numbers = random.Random(seed)
    steps = [[[numbers.randrange(1, 20) if layer in LAYERS else 0 for _ in range(NUM_EXPERTS)]
              for layer in range(LAYERS[-1] + 1)] for _ in range(40)]
    path.write_text(json.dumps({"logical_count": steps}), encoding="utf-8")


def write_config(path):
    """12 slots on 2 ranks: four experts have two replicas."""
    slots = [0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4]
    layers = "".join(f"  {layer}: {slots}\n" for layer in LAYERS)
    path.write_text(f"num_slots: 12\ninitial_global_assignments:\n{layers}"
                    "layer_updates_per_iter: 0\n", encoding="utf-8")


RAW, LONG, OTHER, GAPS = str(RECORDING), "long.jsonl", "other.jsonl", "gaps.jsonl"
CONFIG = ("--projection_eplb_config_path", "eplb.yaml")
SUMS = ("sums.json", "--moe_layers", "3,10", "--ep_size", "2")
GPU = ("--gpu", "h200", "--hidden_size", "512", "--intermediate_size", "128")
OTHER_SUMS = ("other_sums.json", *SUMS)

# every view, with what gives or takes away members and columns
CASES = {
    "layers": [(RAW, *GPU), (RAW,), (GAPS,), (RAW, "--per_expert"), (LONG, *CONFIG), (RAW, *CONFIG),
               (LONG, *CONFIG, "--per_expert"), (LONG, *CONFIG, "--equal_split"),
               (LONG, "--sort", "imbalance_ratio", "--top", "1"), SUMS, (*SUMS, *CONFIG)],
    "ranks": [(LONG,), (GAPS,), (LONG, "--per_expert"), (LONG, *CONFIG),
              (LONG, *CONFIG, "--per_expert"), SUMS, (*SUMS, *CONFIG)],
    "experts": [(LONG,), (GAPS,), (LONG, *CONFIG), SUMS],
    "iterations": [(LONG,), (GAPS,), (LONG, "--per_expert"), (LONG, *CONFIG)],
    "percentiles": [(LONG,), (GAPS,), (LONG, "--per_expert"), (LONG, *CONFIG)],
    "comparison": [(LONG, OTHER), (RAW, OTHER), (LONG, *CONFIG), (LONG, OTHER, RAW),
                   (LONG, GAPS, *CONFIG), (LONG, OTHER, RAW, *GPU), (*SUMS, *CONFIG, *GPU), OTHER_SUMS, (*SUMS, *CONFIG)],
    "held_out": [(LONG, *CONFIG), (LONG, OTHER, *CONFIG), (RAW, *CONFIG),
                 (LONG, "--ep_size", "2", "--num_slots", "12"), (LONG, *CONFIG, *GPU),
                 (LONG, "--ep_size", "2", "--num_slots", "12", *GPU), (*SUMS, "--num_slots", "12")],
    "drift": [(LONG, OTHER), (RAW, OTHER), (LONG, OTHER, *CONFIG), OTHER_SUMS],
    "traffic": [(RAW,), (RAW, "--num_nodes", "2"), (RAW, "--bytes_per_token", "4096"),
                (RAW, *CONFIG), (RAW, "--ep_size", "4")],
    "rank_traffic": [(RAW,), (RAW, "--bytes_per_token", "4096"), (RAW, *CONFIG)],
    "faults": [(LONG,), SUMS, (LONG, *CONFIG), (LONG, *CONFIG, "--num_nodes", "2")],
    "time": [(LONG, *GPU), (GAPS, *GPU), (LONG, *CONFIG, *GPU), (*SUMS, *GPU), (*SUMS, *CONFIG, *GPU),
             (LONG, *GPU, "--tokens_per_rank", "20"), (RAW, *GPU, "--tokens_per_rank", "1"),
             (LONG, *CONFIG, *GPU, "--tokens_per_rank", "200")],
    "worth": [(LONG,), (RAW,), SUMS, OTHER_SUMS, (LONG, OTHER), (LONG, *CONFIG), (LONG, *GPU), (RAW, *GPU),
              (LONG, GAPS, *GPU), (LONG, *CONFIG, *GPU, "--tokens_per_second_per_rank", "1000")],
}


def report(folder, view, arguments):
    return subprocess.run([str(REPORT), *arguments, "--view", view, "--format", "json"], cwd=folder,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
                          check=False)


class ReportSchema(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import jsonschema
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        cls.validator = jsonschema.Draft202012Validator(SCHEMA)
        cls.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(cls.folder.name)
        write_stream(folder / LONG, 1, 40)
        write_stream(folder / OTHER, 2, 40)
        write_stream(folder / GAPS, 3, 6, empty=(101, 104))
        write_sums(folder / SUMS[0], 4)
        write_sums(folder / OTHER_SUMS[0], 5)
        write_config(folder / "eplb.yaml")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def errors(self, document):
        return [f"{list(error.absolute_path)}: {error.message}"
                for error in self.validator.iter_errors(document)]

    def document(self, view, *arguments):
        result = report(self.folder.name, view, arguments)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def test_every_view_has_cases_and_a_part_of_the_schema(self):
        text = subprocess.run([str(REPORT), "--help"], stdout=subprocess.PIPE, encoding="utf-8",
                              check=True).stdout
        entry = re.search(r"--view NAME(.*?)\n  -", text, re.DOTALL)[1]
        views = re.split(r",\s+", entry.rsplit(":", maxsplit=1)[1].strip())
        self.assertEqual(sorted(views), sorted(CASES))
        self.assertEqual(sorted(views), sorted(SCHEMA["properties"]["view"]["enum"]))
        self.assertEqual(sorted(views), sorted(part["if"]["properties"]["view"]["const"]
                                               for part in SCHEMA["allOf"]))

    def test_output_of_every_view_is_valid(self):
        for view, cases in CASES.items():
            for arguments in cases:
                with self.subTest(view=view, arguments=arguments):
                    document = self.document(view, *arguments)
                    self.assertEqual(document["view"], view)
                    self.assertEqual(list(document)[1], "view")
                    self.assertGreater(len(document["rows"]), 0)
                    self.assertEqual(self.errors(document), [])
                    columns = list(document["rows"][0])
                    if "average" in document:
                        self.assertEqual(list(document["average"]), columns[1:])

    def test_what_is_not_documented_is_refused(self):
        for view in ("layers", "ranks", "experts", "iterations", "percentiles"):
            good = self.document(view, LONG)
            self.assertEqual(self.errors(good), [])

            def damaged(change, good=good):
                document = copy.deepcopy(good)
                change(document)
                self.assertNotEqual(document, good)
                return document

            row_key = next(key for key in good["rows"][0] if key == "mean" or key == "share")
            for change in (
                    lambda report: report.pop("view"),
                    lambda report: report.pop("schema_version"),
                    lambda report: report.pop("rows"),
                    lambda report: report.pop("bins"),
                    lambda report: report.update(schema_version=2),
                    lambda report: report.update(view="no_such_view"),
                    lambda report: report.update(view="comparison"),
                    lambda report: report.update(no_such_member=1),
                    lambda report: report.update(iter_start=-1),
                    lambda report: report.update(num_bins="2"),
                    lambda report: report.update(notes="one"),
                    lambda report: report.update(average=[1]),
                    lambda report: report.update(rows={}),
                    lambda report: report["rows"].append({}),
                    lambda report: report["rows"][0].update(no_such_column=1),
                    lambda report: report["rows"][0].update({row_key: -1}),
                    lambda report: report["rows"][0].update({row_key: "1"}),
                    lambda report: report["rows"][-1].pop(row_key)):
                self.assertNotEqual(self.errors(damaged(change)), [])

    def test_every_member_and_column_is_described(self):
        def described(part):
            if "$ref" in part:
                part = SCHEMA["$defs"][part["$ref"].rsplit("/", maxsplit=1)[1]]
            return len(part.get("description", "")) > 3

        for name, part in {"": SCHEMA, **SCHEMA["$defs"]}.items():
            for kind in ("properties", "patternProperties"):
                for key, value in part.get(kind, {}).items():
                    if (name, key) != ("", "rows") and key != "rows":
                        self.assertTrue(described(value), f"{name}: {key}")
            if name.endswith("_row"):
                self.assertIs(part["additionalProperties"], False, name)
                self.assertGreater(len(part["required"]), 0, name)


if __name__ == "__main__":
    if importlib.util.find_spec("jsonschema") is None:
        print("skipped: the package jsonschema is not installed")
        sys.exit(SKIPPED)
    unittest.main()
