#!/usr/bin/env python3
"""Compares the Python package with the standard library, on one interpreter and in one run.

    benches/python.py [--rounds 5] [--only NAME]

It runs each measurement of both sides in turn, so that a busy moment of the machine meets both, and
prints the medians, their ratio, and the smallest and largest ratio of a round.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import statistics
import sys
import time

import dishrack

WORKERS = 2


def same(x):
    return x


def pool_of(module):
    return module.get_context("spawn").Pool(WORKERS) if module is multiprocessing else module.Pool(WORKERS)


def imap(module, items, chunksize):
    """Items a second of `imap_unordered`, after a first one that waits for the workers."""
    with pool_of(module) as pool:
        list(pool.imap_unordered(same, range(100)))
        began = time.perf_counter()
        count = sum(1 for _ in pool.imap_unordered(same, range(items), chunksize))
        taken = time.perf_counter() - began
    assert count == items
    return items / taken


def executor_of(module):
    if module is multiprocessing:
        context = multiprocessing.get_context("spawn")
        return concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=context)
    return module.ProcessPoolExecutor(WORKERS)


def executor_map(module, items, chunksize):
    """Items a second of `Executor.map`."""
    with executor_of(module) as executor:
        list(executor.map(same, range(100)))
        began = time.perf_counter()
        count = sum(1 for _ in executor.map(same, range(items), chunksize=chunksize))
        taken = time.perf_counter() - began
    assert count == items
    return items / taken


def submit(module, items):
    """Futures a second of `Executor.submit`, and their results."""
    with executor_of(module) as executor:
        list(executor.map(same, range(100)))
        began = time.perf_counter()
        futures = [executor.submit(same, n) for n in range(items)]
        count = sum(1 for future in futures if future.result() is not None)
        taken = time.perf_counter() - began
    assert count == items
    return items / taken


#: By name: what is measured, the items of the standard library and of ours, and the target.
MEASURES = {
    "imap_unordered, chunks of 1": (lambda m, n: imap(m, n, 1), 20_000, 200_000, 8.0),
    "imap_unordered, chunks of 256": (lambda m, n: imap(m, n, 256), 1_000_000, 1_000_000, 1.2),
    "Executor.map, chunks of 1": (lambda m, n: executor_map(m, n, 1), 10_000, 100_000, 10.0),
    "Executor.submit": (submit, 10_000, 50_000, None),
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--only", default="")
    arguments.add_argument("--ours", action="store_true", help="leave the standard library out")
    options = arguments.parse_args()
    version = ".".join(map(str, sys.version_info[:3]))
    print(f"CPython {version}, {os.cpu_count()} processors, {options.rounds} rounds")
    for name, (measure, their_items, our_items, target) in MEASURES.items():
        if options.only not in name:
            continue
        theirs, ours = [], []
        for _ in range(options.rounds):
            ours.append(measure(dishrack, our_items))
            theirs.append(ours[-1] if options.ours else measure(multiprocessing, their_items))
        ratios = [one / other for one, other in zip(ours, theirs)]
        wanted = "" if target is None else f", wanted {target}"
        print(
            f"{name}: {statistics.median(ours):,.0f}/s, theirs {statistics.median(theirs):,.0f}/s, "
            f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f}{wanted})",
            flush=True,
        )


if __name__ == "__main__":
    main()
