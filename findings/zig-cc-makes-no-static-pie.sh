#!/usr/bin/env bash
# zig cc 0.17.1 as the C compiler and linker of another build: of -static-pie, which other drivers take
# for "static, and loaded anywhere", it makes a static program with a fixed address, and warns only that the word is unused. With -pie
# alone the same program is static as well, as musl is, and can be loaded anywhere. rustc asks musl targets for
# -static-pie, so a program that it links by zig cc loses its random addresses.
#
# Guess before the run: both are loaded anywhere (DYN).
# Exits with 1 when that changes. Needs python3 with venv, readelf, PyPI.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet ziglang==0.17.1
export ZIG_GLOBAL_CACHE_DIR=$folder/cache ZIG_LOCAL_CACHE_DIR=$folder/cache
echo 'int main(void) { return 0; }' >one.c
kind() {
    venv/bin/python-zig cc -target "$(uname -m)-linux-musl" "$@" one.c -o one
    ./one
    readelf --file-header one | sed -n 's/^ *Type: *\([A-Z]*\).*/\1/p'
    readelf --program-headers one | grep -c INTERP || true
}
echo "zig $(venv/bin/python-zig version)"
asked=$(kind -static-pie | paste -sd ' ')
pie=$(kind -pie | paste -sd ' ')
echo "-static-pie: kind and interpreters: $asked"
echo "-pie:        kind and interpreters: $pie"
[ "$asked" = 'EXEC 0' ]
[ "$pie" = 'DYN 0' ]
