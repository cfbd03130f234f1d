"""The pools of Python: `multiprocessing.Pool.imap_unordered`, `ProcessPoolExecutor.map` and loky's
executor, which returns where the others hang. All have a result for each item.

    python3 benches/peers/pools.py ROW pool|executor|loky --batch CHUNKSIZE [OPTIONS]
"""

import concurrent.futures
import contextlib
import multiprocessing
import time

import order
import tasks

FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def pool(chosen):
    with FORK.Pool(chosen.workers) as made:
        yield lambda work, items: made.imap_unordered(work, items, chosen.batch)


@contextlib.contextmanager
def executor(chosen):
    with concurrent.futures.ProcessPoolExecutor(chosen.workers, mp_context=FORK) as made:
        # It starts workers one by one, as it finds none idle.
        list(made.map(tasks.rest, [10_000] * chosen.workers * 2))
        yield lambda work, items: made.map(work, items, chunksize=chosen.batch)


@contextlib.contextmanager
def loky(chosen):
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(chosen.workers) as made:
        list(made.map(tasks.rest, [10_000] * chosen.workers * 2))
        yield lambda work, items: made.map(work, items, chunksize=chosen.batch)


def throughput(make, chosen):
    maker = tasks.Maker(chosen.bytes)
    with make(chosen) as run:
        tasks.check(sum(run(tasks.weigh, maker.items(1000))) == 1000 * chosen.bytes, "it is warm")
        began = time.perf_counter()
        total = sum(run(tasks.weigh, maker.items(chosen.items)))
        elapsed = time.perf_counter() - began
    tasks.check(total == chosen.items * chosen.bytes, "every item has a result")
    return tasks.measured("items/s", chosen.items / elapsed)


def busy(make, chosen):
    with make(chosen) as run:
        return tasks.busy(chosen, lambda times: list(run(tasks.spin, times)))


def contenders():
    for make in (pool, executor, loky):
        for row, measure in (("throughput", throughput), ("busy", busy), ("mixed", busy)):
            yield (row, make.__name__), lambda chosen, m=measure, p=make: m(p, chosen)


if __name__ == "__main__":
    tasks.answer(order.parse(), dict(contenders()))
