#!/bin/sh
# Installs what is missing, builds what is tested as quickly as can be (in build-test, without CUDA) and
# runs the tests. With --all what CI checks instead: what users build, with g++ and with CUDA where it is
# found; the same with clang, for the compiler's default processor, under the address and
# undefined-behaviour sanitizers; and the report's page in a browser. Warnings are errors.
# Closes with where the time went, and "N passed, N failed, N skipped".
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

# took NAME COMMAND…: runs it, and notes in the folder when it began and ended
took() {
    name=$1
    shift
    begin=$(date +%s)
    status=0
    "$@" || status=$?
    echo "$name $begin $(date +%s)" >> "$folder/meson-logs/seconds"
    return $status
}

folders=
# build FOLDER [SETUP OPTION…]: sets up, builds, remembers the folder
build() {
    folder=$1
    shift
    mkdir -p "$folder/meson-logs"
    : > "$folder/meson-logs/seconds"
    [ -f "$folder/build.ninja" ] || took setup meson setup "$folder" "$@"
    took build ninja -C "$folder"
    folders="$folders $folder"
}

if $all; then
    # as users build it, for one GPU alone
    build build -Dgpu_arch=90
    # another compiler, its sanitizers, the kernels for a plain processor, no CUDA
    CC=clang CXX=clang++ build build-sanitize -Dbuildtype=plain -Doptimization=1 \
        -Dcpp_args=-fno-sanitize-recover=all -Dcpu_arch= -Dcuda=disabled -Db_sanitize=address,undefined -Db_lundef=false
else
    # more files at once than where one of them changes often
    build build-test -Dbuildtype=plain -Doptimization=1 -Dcuda=disabled -Dunity_size=30
fi

failed=0
for folder in $folders; do
    # one more than there are processors: some tests wait for one another's processes
    UBSAN_OPTIONS=print_stacktrace=1 took tests \
        meson test -C "$folder" --no-rebuild --print-errorlogs \
        --num-processes $(($(nproc) + 1)) || failed=1
done

# shellcheck disable=SC2086  # a list of folders
python3 scripts/test_summary.py $folders
exit $failed
