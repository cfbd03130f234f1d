"""Functions that the tests of pools and of executors let workers call."""

import os
import signal
import time


def square(x):
    return x * x


def fail(x):
    raise ValueError(x)  # a comment that a traceback shows


def fail_at_three(x):
    if x == 3:
        raise KeyError(x)
    return x


def die_at_seven(x):
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def sleep_and_return(x):
    time.sleep(x)
    return x
