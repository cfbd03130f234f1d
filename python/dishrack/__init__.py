"""Drop-ins for ``multiprocessing`` that no killed process can hang.

``import dishrack as mp`` in the place of ``import multiprocessing as mp``: the same names and
signatures, on supervised processes and queues whose items are acknowledged.
"""

from __future__ import annotations

from ._native import __version__
from .context import get_context
from .errors import (
    Closed,
    Empty,
    Error,
    Full,
    JournalError,
    NotAccepted,
    NoWorkersLeft,
    SetupError,
    SharedQueueError,
    SupervisorGone,
    TaskDoneTooOften,
    TimeoutError,
)
from .process import Process
from .queues import JoinableQueue, Queue, SimpleQueue

__all__ = [
    "Closed",
    "Empty",
    "Error",
    "Full",
    "JoinableQueue",
    "JournalError",
    "NoWorkersLeft",
    "NotAccepted",
    "Process",
    "Queue",
    "SetupError",
    "SharedQueueError",
    "SimpleQueue",
    "SupervisorGone",
    "TaskDoneTooOften",
    "TimeoutError",
    "__version__",
    "get_context",
]
