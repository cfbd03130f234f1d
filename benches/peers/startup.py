"""From nothing until each of n Python processes has served an item; stopping is not counted.

    python3 benches/peers/startup.py start python-fork|python-forkserver|python-spawn [OPTIONS]

Each process has a pipe of its own, which costs less to make than a `JoinableQueue` and gives each
exactly one item. Only what it needs is imported here, because a spawned process imports it again.
"""

import multiprocessing
import time


def serve(pipe):
    import tasks

    pipe.send(tasks.rest(pipe.recv()))


def start(chosen):
    import tasks

    context = multiprocessing.get_context(chosen.contender.partition("-")[2])
    began = time.perf_counter()
    pipes = []
    for _ in range(chosen.workers):
        ours, theirs = context.Pipe()
        context.Process(target=serve, args=(theirs,)).start()
        ours.send(1000)
        pipes.append(ours)
    pids = {pipe.recv() for pipe in pipes}
    elapsed = time.perf_counter() - began
    tasks.check(len(pids) == chosen.workers, "each worker has served one item")
    return tasks.measured("ms", elapsed * 1e3)


def main():
    import order
    import tasks

    methods = ("python-fork", "python-forkserver", "python-spawn")
    tasks.answer(order.parse(), {("start", method): start for method in methods})


if __name__ == "__main__":
    main()
