#!/bin/sh
# Looks for inputs that readers do not survive: builds the fuzz targets with libFuzzer in build-fuzz/
# (clang), and runs each for a time, starting from data/corpus and what earlier runs found.
# Ends with an error at the first finding; the input is kept in build-fuzz/findings/.
# usage: fuzz.sh [--merge] SECONDS [TARGET…]   all targets where none is named
#   --merge   afterwards copy inputs that reach new code into data/corpus
set -eu
cd "$(dirname "$0")/.."

usage="usage: fuzz.sh [--merge] SECONDS [TARGET...]"
merge=false
if [ "${1-}" = --merge ]; then
    merge=true
    shift
fi
seconds=${1-}
case "$seconds" in
    '' | *[!0-9]*) echo "$usage" >&2; exit 2 ;;
esac
shift

if [ $# -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.cpp; do
        target=${source#tests/fuzz/fuzz_}
        set -- "$@" "${target%.cpp}"
    done
fi
for target; do
    [ -f "tests/fuzz/fuzz_$target.cpp" ] ||
        { echo "fuzz.sh: error: no tests/fuzz/fuzz_$target.cpp" >&2; exit 2; }
done

[ -f build-fuzz/build.ninja ] ||
    CC=clang CXX=clang++ meson setup build-fuzz -Dfuzz=true -Dbuildtype=plain -Doptimization=1 \
        -Dcpp_args=-g1 -Dcuda=disabled -Db_sanitize=address,undefined -Db_lundef=false
for target; do
    ninja -C build-fuzz "tests/fuzz/fuzz_$target"
done

mkdir -p build-fuzz/findings
for target; do
    echo "$target: $seconds seconds"
    mkdir -p "build-fuzz/corpus/$target"
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        "build-fuzz/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="build-fuzz/findings/$target-" \
        "build-fuzz/corpus/$target" "data/corpus/$target"
    if $merge; then
        # a small set of those that add to what data/corpus reaches
        "build-fuzz/tests/fuzz/fuzz_$target" -set_cover_merge=1 -use_counters=0 -max_len=4096 \
            "data/corpus/$target" "build-fuzz/corpus/$target"
    fi
done
