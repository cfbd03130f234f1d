"""A program that waits in one way for a process that is busy in another, until it is interrupted."""

import os
import sys
import threading
import time

import dishrack as mp


def be_busy(how, told):
    told.put(os.getpid())
    if how == "sleeps":
        time.sleep(1000)
    while True:
        pass


def get_one_and_be_busy(how, told, rack):
    rack.get()
    be_busy(how, told)


def wait(kind, how):
    told = mp.Queue()

    def begun():
        # Somebody else looks for it, so that the main thread waits in what is tried.
        def look():
            told.get()
            print("begun", flush=True)

        threading.Thread(target=look, daemon=True).start()

    if kind.startswith("pool"):
        with mp.Pool(2) as pool:
            begun()
            if kind == "pool map":
                pool.starmap(be_busy, [(how, told)] * 4)
            elif kind == "pool imap":
                list(pool.imap(be_busy_with, [(how, told)] * 4))
            else:
                pool.apply_async(be_busy, (how, told))
                pool.close()
                pool.join()
    elif kind == "executor with":
        with mp.ProcessPoolExecutor(2) as executor:
            begun()
            executor.submit(be_busy, how, told).result()
    elif kind == "executor alone":
        executor = mp.ProcessPoolExecutor(2)
        begun()
        executor.submit(be_busy, how, told).result()
    elif kind == "executor map":
        with mp.ProcessPoolExecutor(2) as executor:
            begun()
            list(executor.map(be_busy, [how] * 4, [told] * 4))
    else:
        rack = mp.JoinableQueue(1 if kind == "put" else 0)
        rack.put("cup")
        process = mp.Process(target=get_one_and_be_busy, args=(how, told, rack))
        process.start()
        begun()
        if kind == "get":
            mp.Queue().get()
        elif kind == "put":
            while True:
                rack.put("cup")
        elif kind == "join":
            rack.join()
        else:
            process.join()


def be_busy_with(arguments):
    be_busy(*arguments)


if __name__ == "__main__":
    if sys.argv[3] == "caught":
        try:
            wait(*sys.argv[1:3])
        except KeyboardInterrupt:
            sys.exit(3)
    wait(*sys.argv[1:3])
