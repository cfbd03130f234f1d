#!/usr/bin/env bash
# maturin 1.16: the wheel has a list of what it was built from (an SBOM, on by default), which names each
# package of the workspace by the absolute path of its folder. So the same commit in two folders gives two
# wheels, whatever SOURCE_DATE_EPOCH and --remap-path-prefix say, and each tells where it was built. What is
# compiled is the same. `rust = false` in [tool.maturin.sbom] leaves the list out.
#
# Guess before the run: the list names packages by name and version, and the wheels are the same.
# Exits with 1 when that changes. Needs cargo, Python with venv, and PyPI.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset CARGO_TARGET_DIR
export SOURCE_DATE_EPOCH=1700000000
python3 -m venv venv
venv/bin/pip install --quiet maturin==1.16.0
venv/bin/maturin --version

build() {
    mkdir -p "$1/src"
    echo 'fn main() {}' >"$1/src/main.rs"
    printf '[package]\nname = "plain"\nversion = "0.1.0"\nedition = "2024"\n' >"$1/Cargo.toml"
    printf '[build-system]\nrequires = ["maturin>=1.16,<2"]\nbuild-backend = "maturin"\n[project]\nname = "plain"\nversion = "0.1.0"\n[tool.maturin]\nbindings = "bin"\n%s\n' \
        "$2" >"$1/pyproject.toml"
    (cd "$1" && RUSTFLAGS="--remap-path-prefix=$PWD=/build" "$folder/venv/bin/maturin" build --quiet --release --out dist 2>/dev/null)
}

# The parts of a wheel, each with its checksum, and without those that list the others.
parts() {
    venv/bin/python - "$1"/dist/*.whl <<'PYTHON'
import hashlib, sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
for name in sorted(wheel.namelist()):
    if not name.endswith("RECORD"):
        print(hashlib.sha256(wheel.read(name)).hexdigest()[:12], name)
PYTHON
}

for kind in listed bare; do
    setting=
    [ $kind = listed ] || setting=$'[tool.maturin.sbom]\nrust = false'
    build first/$kind "$setting"
    build second/$kind "$setting"
    diff <(parts first/$kind) <(parts second/$kind) >differing-$kind || true
    echo "$kind: what differs between the two folders"
    sed -n 's/^[<>] [0-9a-f]* /    /p' differing-$kind | sort -u
done
venv/bin/python -m zipfile -e first/listed/dist/*.whl listed
names=$(grep -c "path+file://$folder/first" listed/*/sboms/* || true)
echo "lines of the list that name the folder: $names"
[ "$(sed -n 's/^< [0-9a-f]* //p' differing-listed)" = plain-0.1.0.dist-info/sboms/plain.cyclonedx.json ]
[ ! -s differing-bare ]
[ "$names" -gt 0 ]
