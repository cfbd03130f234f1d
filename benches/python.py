#!/usr/bin/env python3
"""Compares the Python package with the standard library, and its joblib backend with loky, on one interpreter and
in one run.

    benches/python.py [--rounds 5] [--only WORDS] [--start spawn]

It runs each measurement of both sides in turn, each in an interpreter of its own, so that a busy moment of the
machine meets both and nothing is left of an earlier one. It prints the medians, their ratio, and the smallest and
largest ratio of a round. `benches/run --only python` builds the package and runs this.
"""

# Spawned processes import this file too, so what only the first one needs is imported where it is used.
import multiprocessing
import os
import sys
import time

WORKERS = 2
WARMING = 1000


class Side:
    """The classes of one side, all with one way of starting processes."""

    def __init__(self, is_ours, method):
        self.is_ours = is_ours
        if is_ours:
            import dishrack

            self.context = dishrack.get_context(method)
            self.executor_type = dishrack.ProcessPoolExecutor
        else:
            import concurrent.futures

            self.context = multiprocessing.get_context(method)
            self.executor_type = concurrent.futures.ProcessPoolExecutor

    def consumers(self, target, *arguments):
        """Two consumers that have begun, and end with this process."""
        for _ in range(WORKERS):
            self.context.Process(target=target, args=arguments, daemon=True).start()

    def executor(self):
        return self.executor_type(WORKERS, mp_context=self.context)


def same(x):
    return x


def consume(queue):
    while True:
        queue.get()
        queue.task_done()


def consume_arrays(queue):
    """Reads a number of each page of an array."""
    while True:
        array = queue.get()
        assert array[::512].sum() >= 0
        del array
        queue.task_done()


def put_and_join(queue, item, count):
    began = time.perf_counter()
    for _ in range(count):
        queue.put(item)
    queue.join()
    return time.perf_counter() - began


def queue_of_bytes(side, items):
    """Items a second, from the first `put` to the last `task_done`."""
    queue = side.context.JoinableQueue()
    side.consumers(consume, queue)
    put_and_join(queue, b"x" * 100, WARMING)
    return items / put_and_join(queue, b"x" * 100, items)


def idle_round_trip(side, items):
    """Microseconds of one `put` and `join` where nothing else happens, the median."""
    queue = side.context.JoinableQueue()
    side.consumers(consume, queue)
    put_and_join(queue, b"x" * 100, WARMING)
    times = []
    for _ in range(items):
        time.sleep(0.001)
        times.append(put_and_join(queue, b"x" * 100, 1))
    return sorted(times)[items // 2] * 1e6


def queue_of_arrays(mebibytes):
    def measure(side, items):
        import numpy

        queue = side.context.JoinableQueue(4)
        side.consumers(consume_arrays, queue)
        array = numpy.ones(mebibytes << 17)
        put_and_join(queue, array, WORKERS)
        return items * mebibytes / put_and_join(queue, array, items)

    return measure


def imap_unordered(chunksize):
    def measure(side, items):
        with side.context.Pool(WORKERS) as pool:
            # A first one waits for the workers.
            list(pool.imap_unordered(same, range(100)))
            began = time.perf_counter()
            count = sum(1 for _ in pool.imap_unordered(same, range(items), chunksize))
            taken = time.perf_counter() - began
        assert count == items
        return items / taken

    return measure


def executor_map(side, items):
    with side.executor() as executor:
        list(executor.map(same, range(100)))
        began = time.perf_counter()
        count = sum(1 for _ in executor.map(same, range(items)))
        taken = time.perf_counter() - began
    assert count == items
    return items / taken


def submit(side, items):
    """Futures a second, and their results."""
    with side.executor() as executor:
        list(executor.map(same, range(100)))
        began = time.perf_counter()
        futures = [executor.submit(same, n) for n in range(items)]
        count = sum(1 for future in futures if future.result() is not None)
        taken = time.perf_counter() - began
    assert count == items
    return items / taken


def serve(queue):
    queue.put(os.getpid())


def start(side, count):
    """Milliseconds until so many processes, started one after another, have each put an item."""
    began = time.perf_counter()
    queue = side.context.SimpleQueue()
    processes = [side.context.Process(target=serve, args=(queue,)) for _ in range(count)]
    for process in processes:
        process.start()
    pids = {queue.get() for _ in processes}
    taken = time.perf_counter() - began
    assert len(pids) == count
    for process in processes:
        process.join()
    return taken * 1e3


def spin(microseconds):
    until = time.perf_counter_ns() + microseconds * 1000
    while time.perf_counter_ns() < until:
        pass
    return microseconds


def joblib_tasks(side, items):
    """Tasks of 100 us a second, by workers that are there."""
    import joblib

    if side.is_ours:
        import dishrack.joblib  # noqa: F401
    with joblib.parallel_config("dishrack" if side.is_ours else "loky", n_jobs=WORKERS):
        joblib.Parallel()(joblib.delayed(spin)(100) for _ in range(100))
        began = time.perf_counter()
        done = joblib.Parallel()(joblib.delayed(spin)(100) for _ in range(items))
        taken = time.perf_counter() - began
    assert len(done) == items
    return items / taken


class Row:
    """What is measured of theirs and of ours: so many items or processes.

    The ratio of ours to theirs is wanted to be at least so much, or at most. `method` is the way of starting
    processes, if it is a part of the row.
    """

    def __init__(self, measure, unit, theirs, ours, at_least=None, at_most=None, method=None):
        self.measure, self.unit = measure, unit
        self.theirs, self.ours = theirs, ours
        self.at_least, self.at_most = at_least, at_most
        self.method = method

    def target(self):
        if self.at_least is not None:
            return f", wanted at least {self.at_least}"
        return f", wanted at most {self.at_most}" if self.at_most is not None else ""


ROWS = {
    "JoinableQueue, 100 B": Row(queue_of_bytes, "/s", 50_000, 500_000, at_least=5.0),
    "JoinableQueue, idle put to join": Row(idle_round_trip, " us", 1000, 1000, at_most=0.2),
    "Pool.imap_unordered, chunks of 1": Row(imap_unordered(1), "/s", 20_000, 200_000, at_least=8.0),
    "Pool.imap_unordered, chunks of 256": Row(
        imap_unordered(256), "/s", 1_000_000, 1_000_000, at_least=1.2
    ),
    "Executor.map, chunks of 1": Row(executor_map, "/s", 10_000, 100_000, at_least=10.0),
    "Executor.submit and result": Row(submit, "/s", 10_000, 50_000),
    "numpy arrays of 1 MiB": Row(queue_of_arrays(1), " MiB/s", 500, 500, at_least=10.0),
    "numpy arrays of 100 MiB": Row(queue_of_arrays(100), " MiB/s", 10, 10, at_least=20.0),
    "16 processes, forkserver": Row(start, " ms", 16, 16, at_most=1.0, method="forkserver"),
    "16 processes, spawn": Row(start, " ms", 16, 16, at_most=1.1, method="spawn"),
    "joblib, 10,000 tasks of 100 us": Row(joblib_tasks, "/s", 10_000, 10_000, at_least=2.0),
}


def measured(name, is_ours, method, part):
    """One measurement, in an interpreter of its own; of only a part of the items, if that is not 1."""
    import subprocess

    side = "ours" if is_ours else "theirs"
    words = [sys.executable, os.path.abspath(__file__), "--inside", name, side, method, str(part)]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, timeout=600)
    return float(done.stdout)


def inside(name, side, method, part):
    row = ROWS[name]
    is_ours = side == "ours"
    count = max(1, (row.ours if is_ours else row.theirs) // int(part))
    value = row.measure(Side(is_ours, method), count)
    print(value, flush=True)


def main():
    import argparse
    import statistics

    arguments = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[0].split()))
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--quick", action="store_true", help="whether it works: one round of little")
    arguments.add_argument("--only", default="", help="the rows with these words in their names")
    arguments.add_argument("--start", default="spawn", help="how processes are started: spawn, forkserver")
    arguments.add_argument("--ours", action="store_true", help="leave theirs out")
    arguments.add_argument("--inside", nargs=4, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.inside:
        return inside(*options.inside)
    version = ".".join(map(str, sys.version_info[:3]))
    load = os.getloadavg()[0]
    print(f"CPython {version}, {os.cpu_count()} processors, {options.rounds} rounds, {options.start}, load {load:.1f}")
    for name, row in ROWS.items():
        if options.only not in name:
            continue
        theirs, ours = [], []
        part = 50 if options.quick else 1
        for _ in range(1 if options.quick else options.rounds):
            method = row.method or options.start
            ours.append(measured(name, True, method, part))
            theirs.append(ours[-1] if options.ours else measured(name, False, method, part))
        ratios = [one / other for one, other in zip(ours, theirs)]
        print(
            f"{name}: {statistics.median(ours):,.0f}{row.unit}, theirs {statistics.median(theirs):,.0f}{row.unit}, "
            f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f}{row.target()})",
            flush=True,
        )
    return None


if __name__ == "__main__":
    sys.exit(main())
