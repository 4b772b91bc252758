#!/bin/sh
# Installs what is missing, builds, and walks the three steps on a synthetic DeepSeek-R1: collect,
# report and generate, verify. What it makes stays in build/quickstart.
set -eu
cd "$(dirname "$0")/.."

scripts/install_packages.sh
[ -f build/build.ninja ] || meson setup build > build.log || { cat build.log; exit 1; }
rm -f build.log
echo "building, which takes some minutes the first time"
ninja -C build --quiet tools/eplb-collect tools/eplb-report tools/eplb-gen

PATH="$PWD/build/tools:$PATH"
mkdir -p build/quickstart
cd build/quickstart
rm -rf before static online eplb.yaml online.yaml

bold='' plain=''
if [ -t 1 ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
step() {
    printf '\n%s%s%s\n' "$bold" "$1" "$plain"
}
show() {
    printf '$ %s\n' "$*"
    "$@"
}

step "1. Collect: which experts do the tokens go to?"
show eplb-collect --expert_statistic_path before --iter_range 0-8

step "2. Report and generate: how uneven is it, and which placement evens it out?"
show eplb-report before --layers 3,10-13,60
show eplb-gen before --ep_size 36 --num_slots 288 --output_path eplb.yaml

step "3. Verify on later iterations: with the placement, and online from the engine's default one"
show eplb-collect --ep_size 36 --load_balancer eplb.yaml --expert_statistic_path static \
    --iter_range 8-14
show eplb-report static --layers 3,10-13,60
show eplb-gen --num_slots 288 --layer_updates_per_iter 20 --output_path online.yaml
show eplb-collect --ep_size 36 --load_balancer online.yaml --expert_statistic_path online \
    --iter_range 8-14

average() {
    eplb-report "$1" --format csv | sed -n 's/^average,[^,]*,[^,]*,\([0-9]*\.[0-9]\{0,3\}\).*/\1/p'
}
step "Average imbalance ratio: $(average before) before, $(average static) static, $(average online) online"
