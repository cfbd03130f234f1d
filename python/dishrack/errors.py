"""The exceptions of this package.

Each has the standard one as a base where the standard library raises one in the same place, so that
``except queue.Full`` works as it did.
"""

from __future__ import annotations

import builtins
import queue
from typing import Sequence

__all__ = [
    "Closed",
    "Empty",
    "Error",
    "Full",
    "JournalError",
    "NoWorkersLeft",
    "NotAccepted",
    "SetupError",
    "SharedQueueError",
    "SupervisorGone",
    "TaskDoneTooOften",
    "TimeoutError",
]


class Error(Exception):
    """The base of all exceptions of this package."""


class Full(Error, queue.Full):
    """A put found no room, at once or in the time given."""


class Empty(Error, queue.Empty):
    """A get found no item, at once or in the time given."""


class Closed(Error, ValueError):
    """The queue was shut down; or, in a worker, its supervisor stops that worker."""


class TimeoutError(Error, builtins.TimeoutError):  # noqa: A001
    """The time given was over before what was waited for."""

    #: Who holds unfinished items, in words, where that is known.
    holders: Sequence[str] = ()


class NoWorkersLeft(Error, RuntimeError):
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
