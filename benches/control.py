#!/usr/bin/env python3
"""The cost of asking a run: benches/control.py [PROGRAM [ROW...]], on a machine with nothing else to do.

It prints a row for each promise: what was measured, and the target. PROGRAM is a release build of
`supervisor` (target/release/supervisor). The last row needs strace.
"""

import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/supervisor")
FOLDER = tempfile.TemporaryDirectory()
ENVIRONMENT = {**os.environ, "XDG_RUNTIME_DIR": FOLDER.name, "TERM": "xterm"}
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Run:
    """A run that can be asked, and is killed at the end."""

    def __init__(self, *words, stdin=subprocess.DEVNULL):
        command = [PROGRAM, "--name", "bench", "--capacity", "0", *words]
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stdin=stdin, **QUIET)
        self.client = self.reader = None
        path = f"{FOLDER.name}/dishrack/bench.sock"
        while self.client is None:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(path)
                self.client, self.reader = client, client.makefile("rb")
            except OSError:
                client.close()
                time.sleep(0.001)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.process.kill()
        self.process.wait()

    def status(self):
        """Asks once more on the same connection."""
        self.client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: run\r\n\r\n")
        length = 0
        while (line := self.reader.readline()) != b"\r\n":
            if not line:
                raise EOFError
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return json.loads(self.reader.read(length))

    def until(self, is_so):
        while not is_so(self.status()):
            time.sleep(0.005)


def row(what, found, target, is_met):
    print(f"| {what} | {found} | {target} | {'met' if is_met else 'MISSED'} |", flush=True)


def status_of_a_large_run(items=1_000_000, workers=1000):
    words = ["--workers", workers, "--dishes", items + workers, "--wash", 0, "--dry", "1000s", "-q"]
    times = []
    with Run(*map(str, words)) as run:
        def is_whole(status):
            return status["counts"]["waiting"] >= items and all(
                one["state"] == "busy" for one in status["workers"])
        while not is_whole(run.status()):
            time.sleep(0.5)
        for _ in range(200):
            began = time.monotonic()
            run.status()
            times.append((time.monotonic() - began) * 1000)
    median, last = statistics.median(times), max(times)
    what = f"`status`, {items:,} items waiting and {workers:,} workers, of 200"
    row(what, f"median {median:.1f} ms, longest {last:.1f} ms", "median 10 ms", median <= 10)


def put_over_the_socket(count=100_000, rounds=5):
    """From the beginning of a run to the end of its lines, and from the beginning of a put to that."""
    lines = pathlib.Path(FOLDER.name, "lines")
    lines.write_text("".join(f"item {n} {'x' * 80}\n" for n in range(count)))
    # It answers each request with nothing but its end.
    served = ["-w", "2", "-q", "--worker", "sed -u 's/.*/{}/'"]

    def ask(*words):
        subprocess.run([PROGRAM, *words], env=ENVIRONMENT, check=True, **QUIET)

    ratios, rates, puts = [], [], []
    for _ in range(rounds):
        with Run(*served, "--input", str(lines)) as run:
            run.process.wait()
            by_input = count / (time.monotonic() - run.began)
        with Run(*served, stdin=subprocess.PIPE) as run:
            began = time.monotonic()
            ask("put", "--input", str(lines))
            puts.append(count / (time.monotonic() - began))
            ask("join")
            by_socket = count / (time.monotonic() - began)
        ratios.append(by_socket / by_input)
        rates.append((by_socket, by_input))
    by_socket, by_input = (statistics.median(one) for one in zip(*rates))
    ratio = statistics.median(ratios)
    found = f"{by_socket:,.0f}/s done, of {by_input:,.0f}/s by `--input`: {ratio:.2f}"
    what = f"`put` of {count:,} lines, of {rounds}; the put alone {statistics.median(puts):,.0f}/s"
    row(what, found, "0.3", ratio >= 0.3)


def look_on(is_over, run):
    """Shows a `top` on a terminal, and asks ten times a second beside it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(PROGRAM, [PROGRAM, "top"], ENVIRONMENT)
    os.set_blocking(terminal, False)
    while not is_over.wait(0.1):
        try:
            run.status()
            os.read(terminal, 1 << 16)
        except (BlockingIOError, EOFError, OSError):
            pass
    os.kill(pid, signal.SIGTERM)
    os.close(terminal)
    os.waitpid(pid, 0)


def cost_of_looking_on(dishes=10_000_000, rounds=21):
    def seconds(is_watched):
        words = ["--workers", "2", "-q", "--dishes", str(dishes), "--wash", "0", "--dry", "0"]
        with Run(*words) as run:
            is_over = threading.Event()
            looking = threading.Thread(target=look_on, args=(is_over, run))
            if is_watched:
                looking.start()
            run.process.wait()
            time_taken = time.monotonic() - run.began
            is_over.set()
            if is_watched:
                looking.join()
            return time_taken

    seconds(True)
    pairs = []
    for one in range(rounds):
        first = one % 2 == 0
        times = {is_watched: seconds(is_watched) for is_watched in (first, not first)}
        pairs.append(times[True] / times[False] - 1)
    cost = statistics.median(pairs) * 100
    spread = f"{min(pairs) * 100:+.1f} to {max(pairs) * 100:+.1f} %"
    what = f"a `top` and ten `status` a second, {dishes:,} dishes, of {rounds} pairs"
    row(what, f"{cost:+.1f} % ({spread})", "3 %", cost <= 3)


def idle_run(seconds=5):
    if not shutil.which("strace"):
        return print("| an idle run | not tried: there is no strace | | |")
    with Run("-w", "2", "--worker", "cat", stdin=subprocess.PIPE) as run:
        run.until(lambda status: [one["state"] for one in status["workers"]] == ["idle"] * 2)
        # A connection on which nothing is asked is closed after 10 s.
        time.sleep(12)
        calls = pathlib.Path(FOLDER.name, "calls")
        strace = ["strace", "-f", "-qq", "-ttt", "-o", str(calls), "-p", str(run.process.pid)]
        tracing = subprocess.Popen(strace, **QUIET)
        # To be traced wakes up whoever sleeps in the kernel, once.
        time.sleep(2)
        began = time.time()
        time.sleep(seconds)
        ended = time.time()
        tracing.send_signal(signal.SIGINT)
        tracing.wait()
        run.process.stdin.close()
        lines = calls.read_text().splitlines()
        made = [line for line in lines if began < float(line.split()[1]) < ended]
    what = f"system calls of an idle run with its socket open, {seconds} s"
    row(what, len(made), 0, not made)
    for line in made[:10]:
        print(line, file=sys.stderr)


ROWS = [status_of_a_large_run, put_over_the_socket, cost_of_looking_on, idle_run]
print("| | found | target | |\n| --- | --- | --- | --- |", flush=True)
for one in ROWS:
    if len(sys.argv) < 3 or one.__name__ in sys.argv[2:]:
        one()
