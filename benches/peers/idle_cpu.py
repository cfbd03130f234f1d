#!/usr/bin/env python3
"""What waiting for items from Redis costs: CPU time in some seconds of the processes that wait, and of
the redis-server that they wait for.

    python3 benches/peers/idle_cpu.py --program PEERS [--contender NAME] [--workers N] [--seconds S]

PEERS is the compiled benchmark of that name. It says in a line of JSON who waits. The kernel counts
in nanoseconds what each thread was on a CPU for; a thread that ends meanwhile is not counted. A
server alone is awake ten times a second, whoever is connected.
"""

import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import time


def cpu_ns(pids):
    """What all threads of these processes had of the CPUs so far."""
    total = 0
    for pid in pids:
        for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            total += int(stat.read_text().split()[0])
    return total


@contextlib.contextmanager
def waiting(chosen):
    """Who waits, and for which server."""
    command = [chosen.program, "redis-idle", chosen.contender, "--workers", str(chosen.workers)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        said = json.loads(process.stdout.readline())
        yield said["idle"], said["server"]
    finally:
        process.stdin.close()
        process.stdout.read()
        process.wait()
    if process.returncode != 0:
        raise SystemExit("what waited did not end in order")


def measure(chosen):
    with waiting(chosen) as (pids, server):
        time.sleep(1)
        before, server_before = cpu_ns(pids), cpu_ns([server])
        time.sleep(chosen.seconds)
        after, server_after = cpu_ns(pids), cpu_ns([server])
    server_ms = (server_after - server_before) / 1e6
    return dict(unit="ms", value=(after - before) / 1e6, server_ms=server_ms)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--program", required=True, help="the compiled benchmark `peers`")
    parser.add_argument("--contender", default="raw")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5)
    chosen = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.error("this needs the /proc of Linux")
    line = dict(row="redis-idle", contender=chosen.contender, workers=chosen.workers)
    print(json.dumps(dict(line, **measure(chosen))))


if __name__ == "__main__":
    main()
