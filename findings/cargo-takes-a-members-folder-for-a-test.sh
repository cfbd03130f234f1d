#!/usr/bin/env bash
# Cargo 1.95: a workspace member that lies in `tests/NAME` and has a `main.rs` at its top is a test of the
# root package as well, though the folder has a Cargo.toml of its own: each of its files is compiled twice,
# the second time without its dependencies. `autotests = false` in the root ends that.
#
# Guess before the run: one target of this name, the member's.
# Exits with 1 when that changes. Needs cargo, no registry.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir -p src tests/web
touch src/lib.rs tests/web/lib.rs
echo 'fn main() {}' >tests/web/main.rs
root() {
    printf '[workspace]\nmembers = ["tests/web"]\n[package]\nname = "root"\nversion = "0.1.0"\nedition = "2024"\n%s\n' "$1" >Cargo.toml
}
cat >tests/web/Cargo.toml <<'END'
[package]
name = "member"
version = "0.1.0"
edition = "2024"
[lib]
path = "lib.rs"
[[test]]
name = "web"
path = "main.rs"
harness = false
END
owners() {
    cargo metadata --format-version 1 --no-deps --offline | python3 -c '
import json, sys
packages = json.load(sys.stdin)["packages"]
print(*sorted(p["name"] for p in packages for t in p["targets"] if t["kind"] == ["test"]))'
}
cargo --version
root ''
found=$(owners)
root 'autotests = false'
switched_off=$(owners)
echo "packages that have tests/web/main.rs as a test: $found"
echo "with autotests = false in the root:             $switched_off"
[ "$found" = 'member root' ]
[ "$switched_off" = 'member' ]
