#!/usr/bin/env python3
"""What a supervisor does while there is nothing to do: system calls and wake-ups in some seconds.

    python3 benches/peers/idle.py --program PEERS [--workers N] [--seconds S]

PEERS is the compiled benchmark of that name. First, without anybody looking, the voluntary context
switches of all threads are counted, because each call that waits makes one. Then strace is
attached. Attaching interrupts the calls that are under way, and the kernel begins them again, so
what counts are calls that begin later than half a second after it; they are told by their times.
Where there is no strace, the first count stands alone.
"""

import argparse
import contextlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ATTACHING_S = 0.5
# `PID TIME name(...`; a line that begins with `<...` ends a call that began before.
CALL = re.compile(r"^\d+ +(\d+\.\d+) +(\w+)\(")


def switches(pid):
    """Voluntary context switches of all threads."""
    total = 0
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status.read_text(), re.MULTILINE)
        total += int(found[1])
    return total


def calls(pid, seconds):
    """The names of the system calls that began while strace was attached and quiet."""
    with tempfile.NamedTemporaryFile("r", suffix=".strace") as log:
        command = ["strace", "-f", "-ttt", "-o", log.name, "-p", str(pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(ATTACHING_S)
        began = time.time()
        time.sleep(seconds)
        ended = time.time()
        is_attached = tracer.poll() is None
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        text = log.read()
    if not is_attached or not text:
        raise SystemExit("strace could not be attached")
    found = [CALL.match(line) for line in text.splitlines()]
    return [call[2] for call in found if call and began <= float(call[1]) <= ended]


@contextlib.contextmanager
def supervisor(program, workers):
    """The pid of one that has served its items and waits."""
    command = [program, "idle", "dishrack", "--workers", str(workers)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield json.loads(process.stdout.readline())["idle"]
    finally:
        process.stdin.close()
        process.stdout.read()
        process.wait()
    if process.returncode != 0:
        raise SystemExit("the supervisor did not end in order")


def measure(program, workers, seconds):
    with supervisor(program, workers) as pid:
        time.sleep(1)
        before = switches(pid)
        time.sleep(seconds)
        woken = switches(pid) - before
        figures = dict(seconds=seconds, switches=woken)
        if shutil.which("strace"):
            seen = calls(pid, seconds)
            return dict(unit="calls", value=len(seen), names=sorted(set(seen)), **figures)
        return dict(unit="calls", value=woken, names=["no strace: wake-ups instead"], **figures)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", required=True, help="the compiled benchmark `peers`")
    parser.add_argument("--contender", choices=["dishrack"], default="dishrack")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    chosen = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("this needs the /proc of Linux")
    figures = measure(chosen.program, chosen.workers, chosen.seconds)
    print(json.dumps(dict(row="idle", contender="dishrack", workers=chosen.workers, **figures)))


if __name__ == "__main__":
    main()
