#!/usr/bin/env bash
# tokio 1.54.1: `readable()` of a socket that was just accepted returns at once, though its peer has sent
# nothing. Until 1.53.3 it waits for the first byte. Its changelog says for 1.54.0 that accepted sockets start
# as readable, to save a turn of the driver. Whoever limits silent clients by a timeout around `readable()`
# lets all of them through; `async_io` with a look at the socket, or a read, still waits.
#
# Guess before the run: `readable()` waits in both.
# Exits with 1 when that is no longer so. Needs cargo and the registry.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/src/main.rs" <<'RUST'
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

const LONG: Duration = Duration::from_millis(500);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _peer = TcpStream::connect(tcp.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = tcp.accept().await.unwrap();
    let tcp_returns = timeout(LONG, accepted.readable()).await.is_ok();

    let path = std::env::args().nth(1).unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let _peer = UnixStream::connect(&path).await.unwrap();
    let (accepted, _) = unix.accept().await.unwrap();
    let unix_returns = timeout(LONG, accepted.readable()).await.is_ok();
    // The first read that finds nothing ends it.
    let nothing = accepted.try_read(&mut [0; 1]).is_err();
    let again = timeout(LONG, accepted.readable()).await.is_ok();
    println!("tcp={tcp_returns} unix={unix_returns} nothing_there={nothing} after_a_read={again}");
}
RUST
see() {
    cat >"$folder/Cargo.toml" <<TOML
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
tokio = { version = "=$1", features = ["macros", "net", "rt", "time"] }
TOML
    rm -f "$folder/Cargo.lock" "$folder/socket"
    cargo run --quiet --manifest-path "$folder/Cargo.toml" -- "$folder/socket"
}
older=$(see 1.53.3)
newer=$(see 1.54.1)
echo "tokio 1.53.3: $older"
echo "tokio 1.54.1: $newer"
[ "$older" = "tcp=false unix=false nothing_there=true after_a_read=false" ] &&
    [ "$newer" = "tcp=true unix=true nothing_there=true after_a_read=false" ]
