#!/usr/bin/env python3
"""Time profiles that `eplb-report --fit_time_profile` fits: against scipy's least squares, the schema and
the published tables; each part is skipped where its package or the tables are absent.

usage: test_time_profiles.py TOOLS_FOLDER
"""

import importlib.util
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOLS = pathlib.Path(sys.argv.pop(1)).resolve()
BYTES, FLOP = 3 * 1000 * 500, 6 * 1000 * 500  # of the expert below, at a byte for each weight
SHAPE = ("--hidden_size", "1000", "--intermediate_size", "500", "--bytes_per_weight", "1")


def has(package):
    return importlib.util.find_spec(package) is not None


def times_with_noise(cost, seed):
    """Rows of each expert and a time within 10 % of the formula's."""
    numbers = random.Random(seed)
    measurements = []
    for _ in range(60):
        size = 10 ** numbers.uniform(0, 3.5)
        rows = [int(size * numbers.expovariate(1)) for _ in range(numbers.randint(1, 16))]
        time = cost[0] + sum(max(cost[1], cost[2] * n) for n in rows if n > 0)
        measurements.append((rows, time * numbers.uniform(0.9, 1.1)))
    return measurements


def fitted(measurements):
    with tempfile.TemporaryDirectory() as folder:
        table = pathlib.Path(folder) / "t.csv"
        table.write_text("expert_rows,time_us\n" + "".join(
            f"{' '.join(map(str, rows))},{time!r}\n" for rows, time in measurements), encoding="utf-8")
        result = subprocess.run([TOOLS / "eplb-report", "--fit_time_profile", table, *SHAPE],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", check=True)
    return json.loads(result.stdout)


class TimeProfiles(unittest.TestCase):
    @unittest.skipUnless(has("scipy"), "the package scipy is not installed")
    def test_no_worse_than_scipy_from_many_starts(self):
        import numpy
        from scipy.optimize import least_squares
        for seed, cost in enumerate([(20, 11.5, 0.07), (5, 2, 0.3), (100, 40, 0.05)]):
            measurements = times_with_noise(cost, seed)

            def errors(numbers, measurements=measurements):
                t0, w, c = numbers
                return numpy.array([
                    (t0 + sum(max(w, c * n) for n in rows if n > 0)) / time - 1
                    for rows, time in measurements])

            best = min((least_squares(errors, (cost[0], cost[1], cost[2] * factor), bounds=(0, numpy.inf),
                                      x_scale=cost, xtol=1e-12, ftol=1e-12, gtol=1e-12)
                        for factor in (0.5, 0.8, 1, 1.25, 2)), key=lambda result: result.cost)
            profile = fitted(measurements)
            ours = (profile["t0_us"], BYTES / profile["bytes_per_second"] * 1e6,
                    FLOP / profile["flop_per_second"] * 1e6)
            self.assertLess(numpy.sum(errors(ours) ** 2), 2 * best.cost * (1 + 1e-4))
            for mine, scipys in zip(ours, best.x):
                self.assertAlmostEqual(mine / scipys, 1, delta=2e-3)

    @unittest.skipUnless(has("jsonschema"), "the package jsonschema is not installed")
    def test_profiles_follow_the_schema(self):
        import jsonschema
        schema = json.loads((ROOT / "data" / "time_profile.schema.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        profile = fitted(times_with_noise((20, 11.5, 0.07), 1))
        self.assertEqual(list(validator.iter_errors(profile)), [])
        for change in ({"t0": 1}, {"t0_us": -1}, {"bytes_per_second": 0}, {"flop_per_second": "1"}):
            self.assertNotEqual(list(validator.iter_errors({**profile, **change})), [])

    def test_built_in_profiles_are_what_the_tables_give(self):
        result = subprocess.run([sys.executable, ROOT / "scripts" / "fit_time_profiles.py", TOOLS, "--check"],
                                stdout=subprocess.PIPE, encoding="utf-8", check=False)
        if result.returncode == 77:
            self.skipTest(result.stdout.strip())
        self.assertEqual(result.returncode, 0, result.stdout)


if __name__ == "__main__":
    unittest.main()
