"""The chapter's program, with one line changed."""

import dishrack as mp
import os
import time
from datetime import datetime


def washer(dishes, output, now_):
    for dish in dishes:
        now = datetime.now()
        print("Washing", dish, ", time:", now - now_, ", pid", os.getpid(), flush=True)
        time.sleep(0.1)
        output.put(dish)


def dryer(input, now_):
    while True:
        dish = input.get()
        now = datetime.now()
        print("Drying ", dish, ", time:", now - now_, ", pid", os.getpid(), flush=True)
        time.sleep(0.2)
        input.task_done()


if __name__ == "__main__":
    now_ = datetime.now()
    dish_queue = mp.JoinableQueue()
    dryer_proc = mp.Process(target=dryer, args=(dish_queue, now_))
    dryer_proc.daemon = True
    dryer_proc.start()

    dishes = ["dish-1", "dish-2", "dish-3", "dish-4"]
    washer(dishes, dish_queue, now_)
    dish_queue.join()
