"""A Redis stream with a group of consumers, used as well as it can be from Python: everything in
pipelines, 256 items at a time, over a Unix socket, and with nothing written to a disk.

    python streams.py throughput redis [OPTIONS]     with the package `redis`

The server is this script's own. It listens at no port, keeps its socket in a temporary folder, and
is ended at the end. What counts is done in Redis by the consumers, as XACK and INCRBY in the same
pipeline; who counts the last item tells the producer.
"""

import contextlib
import multiprocessing
import os
import subprocess
import tempfile
import time

import redis

import order
import tasks

FORK = multiprocessing.get_context("fork")
BATCH = 256


@contextlib.contextmanager
def server():
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "socket")
        options = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no"]
        command = ["redis-server", *options, "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            await_answer(socket)
            yield socket
        finally:
            process.terminate()
            process.wait()


def await_answer(socket):
    for _ in range(1000):
        with contextlib.suppress(redis.ConnectionError):
            redis.Redis(unix_socket_path=socket).ping()
            return
        time.sleep(0.01)
    raise SystemExit("redis-server does not answer")


def consume(socket, name, goals):
    client = redis.Redis(unix_socket_path=socket)
    while True:
        got = client.xreadgroup("crew", name, {"items": ">"}, count=BATCH, block=0)
        entries = got[0][1]
        for _, fields in entries:
            tasks.touch(fields[b"p"])
        pipeline = client.pipeline(transaction=False)
        pipeline.xack("items", "crew", *(number for number, _ in entries))
        pipeline.incrby("done", len(entries))
        acknowledged, done = pipeline.execute()
        tasks.check(acknowledged == len(entries), "items are acknowledged once")
        if any(done - len(entries) < goal <= done for goal in goals):
            client.lpush("joined", done)


def produce(client, maker, items):
    for first in range(0, items, BATCH):
        pipeline = client.pipeline(transaction=False)
        for _ in range(min(BATCH, items - first)):
            pipeline.xadd("items", {"p": maker.make()})
        pipeline.execute()
    client.blpop("joined")


def throughput(chosen):
    maker = tasks.Maker(chosen.bytes)
    with server() as socket:
        client = redis.Redis(unix_socket_path=socket)
        client.xgroup_create("items", "crew", "0", mkstream=True)
        goals = (1000, 1000 + chosen.items)
        for n in range(chosen.workers):
            FORK.Process(target=consume, args=(socket, f"c{n}", goals), daemon=True).start()
        produce(client, maker, 1000)
        began = time.perf_counter()
        produce(client, maker, chosen.items)
        elapsed = time.perf_counter() - began
        tasks.check(int(client.get("done")) == goals[1], "all items are done")
        tasks.check(client.xpending("items", "crew")["pending"] == 0, "and acknowledged")
        for child in multiprocessing.active_children():
            child.terminate()
            child.join()
    return tasks.measured("items/s", chosen.items / elapsed)


if __name__ == "__main__":
    tasks.answer(order.parse(), {("throughput", "redis"): throughput})
