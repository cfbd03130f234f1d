"""A redis-server of this script's own, for one measurement: on a free port of the loopback and a
socket in a temporary folder, with nothing written to a disk. `redis_server.rs` starts the same.

It knows nothing of what is kept there.
"""

import collections
import contextlib
import os
import socket
import subprocess
import tempfile
import time

import redis

# `tcp` and `unix` are options of a client that say where it is.
Server = collections.namedtuple("Server", "tcp unix url")

# Somebody else may take the port between our look and the server's.
STARTS_MAX = 5


@contextlib.contextmanager
def running():
    with tempfile.TemporaryDirectory() as folder:
        process, server = start(folder)
        try:
            yield server
        finally:
            process.terminate()
            process.wait()


def start(folder):
    path = os.path.join(folder, "socket")
    for _ in range(STARTS_MAX):
        port = free_port()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        command += ["--unixsocket", path, "--save", "", "--appendonly", "no"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        tcp = dict(host="127.0.0.1", port=port)
        if is_answering(process, tcp):
            return process, Server(tcp, dict(unix_socket_path=path), f"redis://127.0.0.1:{port}/0")
    raise SystemExit("redis-server does not start")


def is_answering(process, tcp):
    """Waits until it answers. Not so if it has ended."""
    while process.poll() is None:
        with contextlib.suppress(redis.ConnectionError):
            redis.Redis(**tcp).ping()
            return True
        time.sleep(0.01)
    return False


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
