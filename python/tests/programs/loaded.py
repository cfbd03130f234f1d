"""A program whose main module is loaded in each process, or once in the fork server."""

import os
import sys

import dishrack as mp

LOADED_BY = os.getpid()


def tell(results):
    results.put((LOADED_BY, os.getpid(), os.getppid()))


if __name__ == "__main__":
    if sys.argv[1] == "once":
        mp.set_forkserver_preload(["__main__"])
    results = mp.Queue()
    loaders = set()
    for _ in range(2):
        process = mp.Process(target=tell, args=(results,))
        process.start()
        loaded_by, pid, parent = results.get()
        process.join()
        assert (pid, parent) == (process.pid, os.getpid())
        assert (loaded_by == pid) == (sys.argv[1] == "each"), (loaded_by, pid)
        loaders.add(loaded_by)
    print(len(loaders))
