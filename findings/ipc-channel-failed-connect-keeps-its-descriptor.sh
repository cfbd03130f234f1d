#!/usr/bin/env bash
# ipc-channel 0.23.1: `IpcSender::connect` to a name where nobody listens returns an error, and keeps
# the socket that it made. A program that waits for a server by trying again runs out of descriptors.
#
# Guess before the run: one descriptor for each failed call.
# Exits with 1 when that is no longer so. Needs cargo and the registry.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
ipc-channel = "=0.23.1"
TOML
cat >"$folder/src/main.rs" <<'RUST'
use ipc_channel::ipc::IpcSender;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn main() {
    let nowhere = std::env::temp_dir().join("no-such-folder/socket");
    let name = nowhere.to_str().unwrap().to_string();
    let before = open_descriptors();
    let mut errors = 0;
    for _ in 0..100 {
        if IpcSender::<u8>::connect(name.clone()).is_err() {
            errors += 1;
        }
    }
    println!("errors={errors} left_open={}", open_descriptors() - before);
}
RUST
cd "$folder"
cargo build --quiet
seen=$(./target/debug/finding)
echo "ipc-channel 0.23.1, 100 calls of connect: $seen"
[ "$seen" = "errors=100 left_open=100" ]
