"""arq, with jobs put by 100 coroutines at a time, and worker processes that look for jobs all the time.

    python arq_jobs.py redis arq [OPTIONS]     with the packages `arq` and `redis`

By default a worker looks for jobs twice a second, and then two of them do some 200 jobs a second; here
they look again after 1 ms. Whether each does 10 jobs at a time, as by default, or 30 or 100, makes no
difference. Results are not kept. A job stays in the queue until it is done, and that is what an
acknowledgement is here.
"""

import asyncio
import itertools
import logging
import multiprocessing

import redis
from arq.connections import RedisSettings, create_pool
from arq.constants import default_queue_name
from arq.worker import Worker

import order
import redis_server
import tally
import tasks

FORK = multiprocessing.get_context("fork")
AT_A_TIME = 100
LOOK_S = 0.001


async def look(_, payload):
    tally.look(payload)


def serve(tcp):
    asyncio.set_event_loop(asyncio.new_event_loop())
    logging.disable(logging.INFO)
    Worker(
        [look],
        redis_settings=RedisSettings(**tcp),
        poll_delay=LOOK_S,
        keep_result=0,
    ).run()


async def put(pool, payloads):
    while batch := list(itertools.islice(payloads, AT_A_TIME)):
        await asyncio.gather(*(pool.enqueue_job("look", one) for one in batch))


def throughput(chosen):
    with tally.kept(), redis_server.running() as server:
        loop = asyncio.new_event_loop()
        client = redis.Redis(**server.tcp)
        workers = [FORK.Process(target=serve, args=(server.tcp,)) for _ in range(chosen.workers)]
        for worker in workers:
            worker.start()
        pool = loop.run_until_complete(create_pool(RedisSettings(**server.tcp)))
        measured = tally.throughput(
            chosen,
            lambda payloads: loop.run_until_complete(put(pool, payloads)),
            lambda: client.zcard(default_queue_name) == 0,
        )
        loop.run_until_complete(pool.aclose())
        for worker in workers:
            worker.kill()
            worker.join()
    return measured


if __name__ == "__main__":
    tasks.answer(order.parse(), {("redis", "arq"): throughput})
