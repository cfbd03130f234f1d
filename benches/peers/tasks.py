"""The items that the Python peers work on, and the functions that work on them: the same as in
item.rs. Worker functions are in a module of their own so that they are pickled by their names.

What this does not know: how items travel.
"""

import json
import os
import signal
import threading
import time

PAGE = 4096


class Maker:
    """Makes items of the same content, each an object of its own. The same object again would be
    pickled as a reference to the first one of its chunk, and that would not be the same work."""

    def __init__(self, length):
        self.content = bytearray(at % 251 for at in range(length))

    def make(self):
        return bytes(self.content)

    def items(self, count):
        return (bytes(self.content) for _ in range(count))


def touch(payload):
    """Reads a byte of each page."""
    return payload[0] if len(payload) <= PAGE else sum(payload[::PAGE])


def weigh(payload):
    """Looks at an item, and returns how long it is."""
    touch(payload)
    return len(payload)


def spin(time_us):
    """Computes until this thread has had that much time on a CPU. Who did it, and when."""
    begin = time.monotonic_ns()
    end = time.thread_time_ns() + time_us * 1000
    while time.thread_time_ns() < end:
        pass
    return threading.get_native_id(), begin, time.monotonic_ns()


def rest(time_us):
    """Sleeps, and says where."""
    time.sleep(time_us / 1e6)
    return os.getpid()


def mixed_us(count):
    """From 0.1 to 100 ms, spread evenly over the logarithm; the same numbers as in busy.rs."""
    state, times = 1, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        times.append(round(100 * 1000 ** ((state >> 11) / (1 << 53))))
    return times


def longest_idle_ms(began_ns, spans, workers):
    """For how long at most a worker was at no item while one waited; as in busy.rs."""
    last_begin = max(begin for _, begin, _ in spans)
    by_worker = {}
    for worker, begin, end in sorted(spans, key=lambda span: span[1]):
        by_worker.setdefault(worker, []).append((begin, end))
    longest = last_begin - began_ns if len(by_worker) < workers else 0
    for own in by_worker.values():
        free_since = began_ns
        for begin, end in own:
            longest = max(longest, begin - free_since)
            free_since = end
        longest = max(longest, last_begin - free_since)
    return longest / 1e6


def busy(order, run):
    """What items that compute come to, where `run` does all of them and returns their spans."""
    times = [1000] * order.items if order.row == "busy" else mixed_us(order.items)
    run([1] * 100)
    began_ns = time.monotonic_ns()
    spans = run(times)
    elapsed_s = (time.monotonic_ns() - began_ns) / 1e9
    check(len(spans) == order.items, "every item has a result")
    efficiency = 100 * sum(times) / 1e6 / order.workers / elapsed_s
    idle_ms = longest_idle_ms(began_ns, spans, order.workers)
    if order.row == "busy":
        return measured("%", efficiency, idle_ms=idle_ms)
    return measured("ms", idle_ms, efficiency=efficiency)


def check(is_so, what):
    """Ends the run where a contender has not done what it was to do."""
    if not is_so:
        raise SystemExit(f"not so: {what}")


def measured(unit, value, **more):
    return dict(unit=unit, value=value, **more)


def answer(order, contenders):
    """Makes the measurement that was ordered, and prints it as order.rs does."""
    # Nobody waits for ever; whoever started this run ends what is left of its process group.
    signal.alarm(order.limit_s)
    figures = contenders[order.row, order.contender](order)
    line = dict(row=order.row, contender=order.contender, workers=order.workers, items=order.items)
    print(json.dumps({**line, **figures}), flush=True)
