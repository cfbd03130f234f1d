"""The exceptions of this package.

Each has the standard one as a base where the standard library raises one in the same place, so that
``except queue.Full`` works as it did.
"""

from __future__ import annotations

import builtins
import concurrent.futures
import multiprocessing
import queue
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Sequence

__all__ = [
    "CallFailed",
    "CallTimedOut",
    "Cancelled",
    "Closed",
    "Empty",
    "Error",
    "Full",
    "InitializerFailed",
    "JournalError",
    "NoWorkersLeft",
    "NotAccepted",
    "NotUnpickled",
    "SetupError",
    "SharedQueueError",
    "SupervisorGone",
    "TaskDoneTooOften",
    "TimeoutError",
    "WorkerDied",
]


class Error(Exception):
    """The base of all exceptions of this package."""


class Full(Error, queue.Full):
    """A put found no room, at once or in the time given."""


class Empty(Error, queue.Empty):
    """A get found no item, at once or in the time given."""


class Closed(Error, ValueError):
    """The queue was shut down; or, in a worker, its supervisor stops that worker."""


#: What the standard library raises when a time is over: one class since Python 3.11, and more before.
_TIMEOUTS: Any = tuple(
    dict.fromkeys(
        (multiprocessing.TimeoutError, concurrent.futures.TimeoutError, builtins.TimeoutError)
    )
)


class TimeoutError(Error, *_TIMEOUTS):  # noqa: A001
    """The time given was over before what was waited for."""

    #: Who holds unfinished items, in words, where that is known.
    holders: Sequence[str] = ()


def name_holders(error: Any, holders: Sequence[str]) -> None:
    """Has a `TimeoutError` say who holds what."""
    error.holders = holders
    if holders:
        error.args = (f"{error}: {'; '.join(holders)}",)


class NoWorkersLeft(Error, BrokenProcessPool):
    """Items are unfinished, and nobody is left who could work on them."""


class TaskDoneTooOften(Error, ValueError):
    """``task_done`` was called more often than items were got."""


class NotAccepted(Error, ValueError):
    """An item was not put: it is too large, or there is no shared memory for it."""


class JournalError(Error, OSError):
    """The journal cannot be used or has failed."""


class SharedQueueError(Error, OSError):
    """A queue on Redis cannot be used, has failed, or does not take an item."""


class SupervisorGone(Error, ConnectionError):
    """The process that has the queue cannot be reached any more."""


class SetupError(Error, RuntimeError):
    """A call cannot work as it was set up; the message says what to do."""


class CallFailed(Error):
    """A call has no value, because of what happened to its workers and not of what it raised."""

    #: How often it was tried.
    attempts: int = 0
    #: Why each attempt failed, oldest first.
    causes: Sequence[str] = ()
    #: The end of what the last worker wrote to stderr meanwhile.
    stderr: str = ""


class WorkerDied(CallFailed, BrokenProcessPool):
    """The workers that made a call died, at each attempt. Other calls are none the worse."""


class CallTimedOut(CallFailed, TimeoutError):
    """A call took longer than its pool's ``timeout``, at each attempt."""


class Cancelled(CallFailed, CancelledError):
    """A call was cancelled."""


class NotUnpickled(Error, BrokenProcessPool):
    """A call could not be unpickled in its worker, or its value could not here. Its cause says why."""


class InitializerFailed(Error, BrokenProcessPool):
    """A worker's initializer raised, so no call can be made there."""
