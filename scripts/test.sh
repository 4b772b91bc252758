#!/bin/sh
# Installs what is missing, builds and runs the tests: with g++, and with CUDA where it is found. With
# --all also what CI checks besides: a build with clang without CUDA, for the compiler's default
# processor, and its tests under the address and undefined-behaviour sanitizers; and the report's page in
# a browser. Warnings are errors.
# Closes with "N passed, N failed".
set -eu
cd "$(dirname "$0")/.."

all=false
case "${1-}" in
    --all) all=true ;;
    '') ;;
    *) echo "usage: test.sh [--all]" >&2; exit 2 ;;
esac

if $all; then
    scripts/install_packages.sh python3 python3-jsonschema chromium clang libclang-rt-14-dev
else
    scripts/install_packages.sh python3 python3-jsonschema
fi

builds=
# build FOLDER [SETUP OPTION…]: sets up, builds, remembers the folder
build() {
    folder=$1
    shift
    [ -f "$folder/build.ninja" ] || meson setup "$folder" "$@"
    ninja -C "$folder"
    builds="$builds $folder"
}

# with CUDA where it is found; CI compiles for one GPU alone
if $all; then
    build build -Dgpu_arch=90
    # another compiler, its sanitizers, the kernels for a plain processor, no CUDA
    CC=clang CXX=clang++ build build-sanitize -Dbuildtype=plain -Doptimization=1 -Dcpp_args=-g1 \
        -Dcpu_arch= -Dcuda=disabled -Db_sanitize=address,undefined -Db_lundef=false
else
    build build
fi

failed=0
for folder in $builds; do
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        meson test -C "$folder" --print-errorlogs || failed=1
done

# one line over all builds, from what meson recorded of each test
# shellcheck disable=SC2086  # a list of folders
python3 - $builds << 'EOF'
import json
import sys

results = []
for folder in sys.argv[1:]:
    with open(f"{folder}/meson-logs/testlog.json", encoding="utf-8") as log:
        results += [json.loads(line)["result"] for line in log]
passed = results.count("OK")
skipped = results.count("SKIP")
print(f"{passed} passed, {len(results) - passed - skipped} failed, {skipped} skipped")
EOF
exit $failed
