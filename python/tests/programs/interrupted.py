"""A program that waits for a consumer that never comes to an end, until it is interrupted."""

import sys
import threading

import dishrack as mp


def dry(rack, hears):
    if hears == "deaf":
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    dish = rack.get()
    print("drying", dish, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    rack = mp.JoinableQueue()
    for _ in range(3):
        mp.Process(target=dry, args=(rack, sys.argv[1])).start()
        rack.put("cup")
    rack.join()
