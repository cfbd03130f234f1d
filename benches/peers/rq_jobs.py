"""rq, with jobs put in pipelines, 256 at a time, and worker processes of its class SimpleWorker.

    python rq_jobs.py redis rq [OPTIONS]     with the packages `rq` and `redis`

Its default worker forks a process for every job; SimpleWorker does jobs in its own, and is the
fastest that it has. Jobs and their results are kept for a while, as by default: to delete them at once
takes longer. A job that was taken stays in a registry until it is done, and that is what an
acknowledgement is here.
"""

import itertools
import multiprocessing

import redis
import rq
from rq.registry import StartedJobRegistry

import order
import redis_server
import tally
import tasks

FORK = multiprocessing.get_context("fork")
BATCH = 256


def serve(tcp):
    client = redis.Redis(**tcp)
    worker = rq.SimpleWorker([rq.Queue(connection=client)], connection=client)
    worker.work(logging_level="WARNING")


def put(queue, payloads):
    jobs = (rq.Queue.prepare_data(tally.look, (one,)) for one in payloads)
    while batch := list(itertools.islice(jobs, BATCH)):
        with queue.connection.pipeline(transaction=False) as pipeline:
            queue.enqueue_many(batch, pipeline=pipeline)
            pipeline.execute()


def throughput(chosen):
    with tally.kept(), redis_server.running() as server:
        client = redis.Redis(**server.tcp)
        queue = rq.Queue(connection=client)
        started = StartedJobRegistry(queue=queue)
        workers = [FORK.Process(target=serve, args=(server.tcp,)) for _ in range(chosen.workers)]
        for worker in workers:
            worker.start()

        def is_acknowledged():
            return client.llen(queue.key) == 0 and client.zcard(started.key) == 0

        measured = tally.throughput(chosen, lambda payloads: put(queue, payloads), is_acknowledged)
        for worker in workers:
            worker.kill()
            worker.join()
    return measured


if __name__ == "__main__":
    tasks.answer(order.parse(), {("redis", "rq"): throughput})
