"""`multiprocessing.JoinableQueue` with a loop of `get` and `task_done` in each worker: the peer that
does the same as this project, until something dies.

    python3 benches/peers/joinable.py ROW joinable-queue [OPTIONS]

Worker processes are forked, which is Python's fastest way, and before the first `put`, which starts
a thread.
"""

import multiprocessing
import resource
import time

import order
import tasks

FORK = multiprocessing.get_context("fork")
WARMING = 1000


def look_all(queue):
    """A worker. It ends with its producer."""
    while True:
        tasks.touch(queue.get())
        queue.task_done()


def look_until_none(queue):
    """A worker that can be stopped in order."""
    while True:
        item = queue.get()
        if item is not None:
            tasks.touch(item)
        queue.task_done()
        if item is None:
            return


def spin_all(queue, results):
    """A worker that sends back what it did."""
    while True:
        results.put(tasks.spin(queue.get()))
        queue.task_done()


def start(workers, target, *args):
    processes = [FORK.Process(target=target, args=args, daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    return processes


def work(queue, maker, items):
    """Puts items one by one, and joins: how many seconds it took."""
    began = time.perf_counter()
    for _ in range(items):
        queue.put(maker.make())
    queue.join()
    return time.perf_counter() - began


def warm(chosen):
    queue, maker = FORK.JoinableQueue(chosen.bound), tasks.Maker(chosen.bytes)
    start(chosen.workers, look_all, queue)
    work(queue, maker, min(WARMING, (16 << 20) // chosen.bytes))
    return queue, maker


def throughput(chosen):
    queue, maker = warm(chosen)
    return tasks.measured("items/s", chosen.items / work(queue, maker, chosen.items))


def round_trip(chosen):
    queue, maker = warm(chosen)
    times = []
    for _ in range(chosen.items):
        if chosen.gap_us:
            time.sleep(chosen.gap_us / 1e6)
        times.append(work(queue, maker, 1))
    times.sort()
    p50, p99 = (times[(len(times) - 1) * n // 1000] * 1e6 for n in (500, 990))
    return tasks.measured("us", p50, p99_us=p99)


def large(chosen):
    queue, maker = warm(chosen)
    elapsed = work(queue, maker, chosen.items)
    return tasks.measured("MiB/s", chosen.items * chosen.bytes / (1 << 20) / elapsed)


def busy(chosen):
    queue, results = FORK.JoinableQueue(), FORK.SimpleQueue()
    start(chosen.workers, spin_all, queue, results)

    def run(times):
        for time_us in times:
            queue.put(time_us)
        spans = [results.get() for _ in times]
        queue.join()
        return spans

    return tasks.busy(chosen, run)


def waiting(chosen):
    queue, maker = FORK.JoinableQueue(), tasks.Maker(chosen.bytes)
    queue.put(maker.make())
    before = anonymous_bytes()
    for _ in range(chosen.items - 1):
        queue.put(maker.make())
    tasks.check(queue.qsize() == chosen.items, "all items wait")
    beyond = (anonymous_bytes() - before) / chosen.items - chosen.bytes
    # The feeder thread waits for a reader, and the end of the process would wait for it.
    queue.cancel_join_thread()
    return tasks.measured("B/item", beyond)


def anonymous_bytes():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("RssAnon"))


def drain(chosen):
    queue, maker = FORK.JoinableQueue(), tasks.Maker(chosen.bytes)
    # Forked before the first `put`, for the sake of its thread; they wait for nothing meanwhile.
    gate = FORK.Event()
    start(chosen.workers, look_after, gate, queue)
    began = time.perf_counter()
    for _ in range(chosen.items):
        queue.put(maker.make())
    put_s = time.perf_counter() - began
    gate.set()
    queue.join()
    return tasks.measured("s", time.perf_counter() - began, put_s=put_s)


def look_after(gate, queue):
    gate.wait()
    look_all(queue)


def scale(chosen):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    queue, maker = FORK.JoinableQueue(), tasks.Maker(chosen.bytes)
    began = time.perf_counter()
    processes = start(chosen.workers, look_until_none, queue)
    start_s = time.perf_counter() - began
    serve_s = work(queue, maker, chosen.items)
    began = time.perf_counter()
    for _ in processes:
        queue.put(None)
    for process in processes:
        process.join()
        tasks.check(process.exitcode == 0, "workers end in order")
    stop_s = time.perf_counter() - began
    parts = dict(start_s=start_s, serve_s=serve_s, stop_s=stop_s)
    return tasks.measured("s", sum(parts.values()), **parts)


ROWS = {
    "throughput": throughput,
    "round-trip": round_trip,
    "large": large,
    "busy": busy,
    "mixed": busy,
    "waiting": waiting,
    "drain": drain,
    "scale": scale,
}

if __name__ == "__main__":
    tasks.answer(order.parse(), {(row, "joinable-queue"): row_of for row, row_of in ROWS.items()})
