#!/bin/sh
# Installs what building needs from Debian's packages, where something is missing.
# usage: install_packages.sh [PACKAGE…]   further packages to install
set -eu

packages="g++ pkg-config meson ninja-build libcli11-dev nlohmann-json3-dev libyaml-cpp-dev
          libeigen3-dev catch2 $*"
missing=
for package in $packages; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null | grep -qx installed ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get > /dev/null; then
    echo "install_packages.sh: error: no apt-get here; install the counterparts of:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
fi
echo "installing:$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list of words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
