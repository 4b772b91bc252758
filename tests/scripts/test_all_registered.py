#!/usr/bin/env python3
"""Sources, transcripts and scripts of tests/ that no meson.build names, so that they never run."""

import pathlib
import re
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent


def is_to_run(path):
    if path.suffix == ".py":  # others are helpers, and makers of fixtures
        return path.name.startswith("test_")
    return path.suffix in (".cpp", ".cu", ".sh")


def named(meson_build):
    """Files by their paths, and by their names without an ending or `fuzz_`, as loops have them."""
    folder = meson_build.parent
    for name in re.findall(r"'([^'\n]+)'", meson_build.read_text(encoding="utf-8")):
        for path in (name, f"{name}.sh", f"fuzz_{name}.cpp"):
            yield (folder / path).resolve()


def main():
    registered = {path for meson_build in TESTS.rglob("meson.build") for path in named(meson_build)}
    files = [path for path in sorted(TESTS.rglob("*")) if path.is_file()]
    faults = []
    for path in files:
        if is_to_run(path) and path not in registered:
            faults.append(f"{path}: no meson.build names it")
        if path.suffix == ".expected" and not path.with_suffix(".sh").exists():
            faults.append(f"{path}: belongs to no script")
        if path.suffix == ".sh" and not path.with_suffix(".expected").exists():
            faults.append(f"{path}: has no {path.stem}.expected")
    print("\n".join(faults) or f"{len(files)} files")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
