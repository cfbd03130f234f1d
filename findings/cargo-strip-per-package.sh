#!/usr/bin/env bash
# Cargo 1.95: a package with profile settings of its own loses `strip = true` of the profile. The
# settings here name codegen-units alone, so all others should stay as the profile has them, as lto
# and opt-level do; but the package's own program is linked with its symbols, about a seventh of it.
# Said once more among the package's settings, it holds.
#
# Guess before the run: three times strip=symbols.
# Exits with 1 when that changes. Needs cargo, no registry.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset CARGO_PROFILE_RELEASE_STRIP CARGO_TARGET_DIR RUSTFLAGS
mkdir src
echo 'fn main() {}' >src/main.rs
flags() {
    printf '[package]\nname = "plain"\nversion = "0.1.0"\nedition = "2024"\n[profile.release]\nopt-level = 2\n%s\n' "$1" >Cargo.toml
    cargo build --release --verbose 2>&1 | grep -o -e 'opt-level=[0-9]' -e 'strip=[a-z]*' | paste -sd ' '
}
cargo --version
whole=$(flags 'strip = true')
own=$(flags $'strip = true\n[profile.release.package.plain]\ncodegen-units = 4')
twice=$(flags $'strip = true\n[profile.release.package.plain]\ncodegen-units = 4\nstrip = true')
echo "in the profile:               $whole"
echo "and the package has settings: $own"
echo "and they say it once more:    $twice"
[ "$whole" = 'opt-level=2 strip=symbols' ]
[ "$own" = 'opt-level=2 strip=debuginfo' ]
[ "$twice" = 'opt-level=2 strip=symbols' ]
