#!/usr/bin/env bash
# sd-notify 0.5.0: a NOTIFY_SOCKET that begins with "@" names an abstract socket (sd_notify(3)), and
# the crate takes it for the path of a file. So a service that a manager with such a socket has
# started never says that it is ready. The same program reaches a socket in the file system.
#
# Guess before the run: the file gets READY=1, the abstract socket nothing and an error.
# Exits with 1 when that changes. Needs cargo and python3.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset CARGO_TARGET_DIR RUSTFLAGS NOTIFY_SOCKET
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "ready"
version = "0.1.0"
edition = "2024"
[dependencies]
sd-notify = "=0.5.0"
TOML
cat >src/main.rs <<'RUST'
fn main() {
    match sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        Ok(()) => println!("told"),
        Err(error) => println!("{:?}", error.kind()),
    }
}
RUST
cargo build --quiet
cat >manager.py <<'PYTHON'
import os, socket, subprocess, sys
name = sys.argv[1]
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
    manager.bind("\0" + name[1:] if name.startswith("@") else name)
    manager.setblocking(False)
    said = subprocess.run(["target/debug/ready"], env={**os.environ, "NOTIFY_SOCKET": name},
                          capture_output=True, text=True).stdout.strip()
    try:
        heard = manager.recv(4096).decode().strip()
    except BlockingIOError:
        heard = "nothing"
    print(f"{said}, {heard}")
PYTHON
cargo --version
file=$(python3 manager.py "$folder/file.sock")
abstract=$(python3 manager.py "@ready-$$")
echo "a socket in the file system: $file"
echo "an abstract one:             $abstract"
[ "$file" = 'told, READY=1' ]
[ "$abstract" = 'NotFound, nothing' ]
