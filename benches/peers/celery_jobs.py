"""Celery with Redis as its broker: one worker with a pool of as many forked processes as ordered.

    python celery_jobs.py redis celery [OPTIONS]     with the packages `celery` and `redis`

Tasks are acknowledged when they are done (`acks_late`), as everybody else's items are, and have no
results. Each process of the pool has up to 64 of them beforehand, which is faster than its default
of 4. What processes tell each other about themselves is turned off.
"""

import contextlib
import os
import pathlib
import subprocess
import sys

import celery
import redis

import tally

HERE = pathlib.Path(__file__).resolve().parent
# Where the worker finds its broker.
BROKER = "PEERS_BROKER"

app = celery.Celery("celery_jobs", broker=os.environ.get(BROKER))
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=False,
)


@app.task(name="look")
def look(payload):
    tally.look(payload)


@contextlib.contextmanager
def worker(processes):
    command = [sys.executable, "-m", "celery", "-A", "celery_jobs", "worker", "--loglevel=ERROR"]
    command += ["--pool=prefork", f"--concurrency={processes}"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    # Its banner goes nowhere: stdout is for the measurement.
    process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def put(producer, payloads):
    for payload in payloads:
        look.apply_async((payload,), producer=producer)


def throughput(chosen):
    import redis_server

    with tally.kept(), redis_server.running() as server:
        app.conf.broker_url = os.environ[BROKER] = server.url
        client = redis.Redis(**server.tcp)
        with worker(chosen.workers), app.producer_or_acquire() as producer:
            return tally.throughput(
                chosen,
                lambda payloads: put(producer, payloads),
                lambda: client.llen("celery") == 0 and client.hlen("unacked") == 0,
            )


if __name__ == "__main__":
    import order
    import tasks

    tasks.answer(order.parse(), {("redis", "celery"): throughput})
