"""Kills workers, busy and idle, the fork server, and whole programs, so many in all, and counts what that costs.

    python kills.py 1000

Prints one line of JSON. Nothing may be lost, hang, or be left: no process, no open file, no shared memory.
"""

import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from multiprocessing import shared_memory

import dishrack as mp

#: Whatever is not over by then hangs.
PATIENCE = 60.0

#: The variable that everything has which is started here, whoever takes it over.
MARK = "DISHRACK_KILLS_MARK"


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        return 1
    except ProcessLookupError:
        return 0


def square(n):
    time.sleep(0.002)
    return n * n


def dry(rack, dried):
    while True:
        dish = rack.get()
        time.sleep(0.001)
        dried.put(dish)
        rack.task_done()


def until(holds):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def processes_with(mark):
    """All processes that were started with this mark, but this one and those that stay as long as it does."""
    found = set()
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        folder = pathlib.Path("/proc", name)
        try:
            words = (folder / "cmdline").read_bytes()
            if mark in (folder / "environ").read_bytes():
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                stays = b"resource_tracker" in words or b"fork-server of" in words
                if not (stays and parent == os.getpid()):
                    found.add(int(name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
    return found


class Kitchen:
    """Everything that is killed, and the count of what that has cost."""

    def __init__(self):
        self.kills = collections.Counter()
        self.lost = self.hung = self.calls = self.dishes = 0
        self.dice = random.Random(1)
        self.pool = mp.Pool(2)
        self.executor = mp.ProcessPoolExecutor(2)
        self.rack, self.dried = mp.JoinableQueue(), mp.Queue()
        self.dryers = [self.start_dryer() for _ in range(2)]

    def start_dryer(self):
        dryer = mp.Process(target=dry, args=(self.rack, self.dried), daemon=True)
        dryer.start()
        return dryer

    def settled(self, result):
        """Waits for the result of calls, and counts what is missing of it."""
        expected = [n * n for n in range(20)]
        self.calls += 20
        try:
            got = result(PATIENCE)
        except mp.TimeoutError:
            self.hung += 1
        except Exception as error:
            print(f"lost: {error!r}", file=sys.stderr)
            self.lost += 20
        else:
            self.lost += got != expected

    def kill_busy(self):
        result = self.pool.map_async(square, range(20), chunksize=1)
        time.sleep(self.dice.random() * 0.02)
        self.kills["busy worker"] += kill(self.dice.choice(self.pool._pool).pid)
        self.settled(result.get)

    def kill_busy_of_executor(self):
        futures = [self.executor.submit(square, n) for n in range(20)]
        time.sleep(self.dice.random() * 0.02)
        self.kills["busy worker"] += kill(self.dice.choice(list(self.executor._processes)))
        self.settled(lambda time: [future.result(time) for future in futures])

    def kill_idle(self):
        workers = [one.pid for one in self.pool._pool] + list(self.executor._processes)
        for pid in workers:
            self.kills["idle worker"] += kill(pid)
        self.settled(self.pool.map_async(square, range(20)).get)
        self.settled(lambda time: list(self.executor.map(square, range(20), timeout=time)))

    def kill_dryer(self):
        for dish in range(20):
            self.rack.put(dish)
        self.dishes += 20
        time.sleep(self.dice.random() * 0.02)
        at = self.dice.randrange(2)
        self.kills["process with an item"] += kill(self.dryers[at].pid)
        try:
            self.rack.join(PATIENCE)
        except mp.TimeoutError:
            self.hung += 1
        # One that died between the two may have dried a dish that another one dries again.
        dried = set()
        while not self.dried.empty():
            dried.add(self.dried.get())
        self.lost += len(set(range(20)) - dried) + len(self.rack.take_dead_letters())
        self.dryers[at].join(PATIENCE)
        self.dryers[at].close()
        self.dryers[at] = self.start_dryer()

    def kill_fork_server(self):
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    words = pathlib.Path("/proc", name, "cmdline").read_bytes()
                    # A worker that was forked just now has the same words.
                    leads = os.getpgid(int(name)) == int(name)
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if leads and f"fork-server of supervisor {os.getpid()} ".encode() in words:
                    self.kills["fork server"] += kill(int(name))
        process = mp.Process(target=square, args=(2,))
        process.start()
        process.join(PATIENCE)
        self.hung += process.exitcode is None
        self.lost += process.exitcode != 0
        process.close()

    def kill_program(self):
        """Kills a program that has all of these, and what is left of it must end."""
        mark = f"{os.getpid()}-{self.kills['program']}".encode()
        environment = {**os.environ, MARK: mark.decode()}
        command = [sys.executable, __file__, "victim"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as program:
            program.stdout.readline()
            time.sleep(self.dice.random() * 0.01)
            program.kill()
            program.wait()
            self.kills["program"] += 1
            if not until(lambda: not processes_with(mark)):
                self.hung += 1

    def close(self):
        self.pool.close()
        self.pool.join()
        self.executor.shutdown()
        for dryer in self.dryers:
            dryer.kill()
            dryer.join(PATIENCE)
            dryer.close()


def victim():
    kitchen = Kitchen()
    kitchen.pool.map_async(square, range(10_000), chunksize=1)
    for n in range(1000):
        kitchen.executor.submit(square, n)
        kitchen.rack.put(n)
    print("busy", flush=True)
    time.sleep(PATIENCE)


def main(kills):
    os.environ[MARK] = mark = f"all-{os.getpid()}"
    # The tracker is told of it, and must not have anything to say at the end.
    memory = shared_memory.SharedMemory(create=True, size=16)
    kitchen = Kitchen()
    ways = [
        kitchen.kill_busy,
        kitchen.kill_busy_of_executor,
        kitchen.kill_idle,
        kitchen.kill_dryer,
        kitchen.kill_fork_server,
    ]
    for way in ways:
        way()
    files, shared = len(os.listdir("/proc/self/fd")), set(os.listdir("/dev/shm"))
    begin = time.monotonic()
    number = 0
    while sum(kitchen.kills.values()) < kills:
        # A whole program takes much longer.
        kitchen.kill_program() if number % 25 == 3 else ways[number % len(ways)]()
        number += 1
    took = time.monotonic() - begin
    until(lambda: len(os.listdir("/proc/self/fd")) <= files)
    files_left = len(os.listdir("/proc/self/fd")) - files
    kitchen.close()
    until(lambda: not processes_with(mark.encode()))
    figures = {
        "kills": dict(kitchen.kills),
        "in all": sum(kitchen.kills.values()),
        "calls": kitchen.calls,
        "dishes": kitchen.dishes,
        "lost": kitchen.lost,
        "hung": kitchen.hung,
        "orphans": len(processes_with(mark.encode())),
        "files": max(0, files_left),
        "shared memory": len(set(os.listdir("/dev/shm")) - shared),
        "seconds": round(took, 1),
    }
    memory.close()
    memory.unlink()
    print(json.dumps(figures))


if __name__ == "__main__":
    victim() if sys.argv[1] == "victim" else main(int(sys.argv[1]))
