"""A Redis stream with a group of consumers, used as well as it can be from Python: everything in
pipelines, 256 items at a time, and with nothing written to a disk.

    python streams.py throughput redis [OPTIONS]     over a Unix socket
    python streams.py redis pipelined [OPTIONS]      over TCP; both with the package `redis`

What counts is done in Redis by the consumers, as XACK and INCRBY in the same pipeline; who counts
the last item tells the producer.
"""

import multiprocessing
import time

import redis

import order
import redis_server
import tasks

FORK = multiprocessing.get_context("fork")
BATCH = 256


def consume(where, name, goals):
    client = redis.Redis(**where)
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
    with redis_server.running() as server:
        where = server.tcp if chosen.row == "redis" else server.unix
        client = redis.Redis(**where)
        client.xgroup_create("items", "crew", "0", mkstream=True)
        goals = (1000, 1000 + chosen.items)
        for n in range(chosen.workers):
            FORK.Process(target=consume, args=(where, f"c{n}", goals), daemon=True).start()
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
    contenders = {("throughput", "redis"): throughput, ("redis", "pipelined"): throughput}
    tasks.answer(order.parse(), contenders)
