"""How many items are done, for task queues that have no join: every worker process appends a byte to
a file of its own for each item, and whoever waits looks at the lengths. That costs a task one cheap
system call, and no round trip to the server.

What this does not know: which task queue it is.
"""

import contextlib
import functools
import os
import tempfile
import time

import tasks

# Where worker processes find the folder of their files.
FOLDER = "PEERS_TALLY"
LOOK_S = 0.001
WARMING = 100


@contextlib.contextmanager
def kept():
    """To be entered before workers are started, which inherit the name of the folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        yield


@functools.lru_cache(maxsize=1)
def own_file(pid):
    path = os.path.join(os.environ[FOLDER], str(pid))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def look(payload):
    """A worker's task."""
    tasks.touch(payload)
    os.write(own_file(os.getpid()), b".")


def lengths():
    with os.scandir(os.environ[FOLDER]) as files:
        return [file.stat().st_size for file in files]


def join(goal, is_acknowledged):
    """Waits until that many items are done, and the server knows of none that is not."""
    while sum(lengths()) < goal or not is_acknowledged():
        time.sleep(LOOK_S)
    tasks.check(sum(lengths()) == goal, "every item is done once")


def throughput(chosen, put, is_acknowledged):
    """What a task queue reaches, where `put` puts as many payloads as it is given. The workers are
    warm once each of them has done something."""
    maker = tasks.Maker(chosen.bytes)
    before = 0
    while len(lengths()) < chosen.workers:
        put(maker.items(WARMING))
        before += WARMING
        join(before, is_acknowledged)
    began = time.perf_counter()
    put(maker.items(chosen.items))
    join(before + chosen.items, is_acknowledged)
    elapsed = time.perf_counter() - began
    tasks.check(len(lengths()) == chosen.workers, "there are as many workers as ordered")
    return tasks.measured("items/s", chosen.items / elapsed)
