#!/usr/bin/env bash
# ipc-channel 0.23.1: the socket that `IpcOneShotServer::accept` makes for its receiver has no
# close-on-exec flag, though the sockets of `ipc::channel()` have it. Every program that is started
# afterwards holds an end of the channel.
#
# Guess before the run: the accepted socket alone lacks the flag.
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
use ipc_channel::ipc::{channel, IpcOneShotServer, IpcReceiver, IpcSender};
use std::process::Command;

/// How many sockets a program that is started now finds open, besides its own three descriptors.
fn inherited() -> usize {
    let listing = Command::new("sh").args(["-c", "ls -l /proc/self/fd"]).output().unwrap();
    String::from_utf8_lossy(&listing.stdout).matches("socket:").count()
}

fn main() {
    let before = inherited();
    let pair: (IpcSender<u8>, IpcReceiver<u8>) = channel().unwrap();
    let with_channel = inherited() - before;

    let (server, name) = IpcOneShotServer::<u8>::new().unwrap();
    let with_server = inherited() - before;
    let client = std::thread::spawn(move || {
        let sender = IpcSender::<u8>::connect(name).unwrap();
        sender.send(1).unwrap();
        sender
    });
    let (receiver, _first) = server.accept().unwrap();
    let sender = client.join().unwrap();
    let with_both = inherited() - before;
    drop(sender);
    let with_accepted = inherited() - before;
    println!(
        "channel={with_channel} server={with_server} connected+accepted={with_both} accepted={with_accepted}"
    );
    drop((receiver, pair));
}
RUST
cd "$folder"
cargo build --quiet
seen=$(./target/debug/finding)
echo "ipc-channel 0.23.1, sockets that a started program inherits: $seen"
[ "$seen" = "channel=0 server=0 connected+accepted=1 accepted=1" ]
