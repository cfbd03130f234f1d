"""Drop-ins for ``multiprocessing`` that no killed process can hang.

``import dishrack as mp`` in the place of ``import multiprocessing as mp``: the same names and
signatures, on supervised processes and queues whose items are acknowledged.
"""

from __future__ import annotations

from ._native import __version__
from .context import get_context
from .errors import (
    CallFailed,
    CallTimedOut,
    Cancelled,
    Closed,
    Empty,
    Error,
    Full,
    InitializerFailed,
    JournalError,
    NotAccepted,
    NoWorkersLeft,
    SetupError,
    SharedQueueError,
    SupervisorGone,
    TaskDoneTooOften,
    TimeoutError,
    WorkerDied,
)
from .executor import ProcessPoolExecutor
from .pool import Pool
from .process import Process
from .queues import JoinableQueue, Queue, SimpleQueue

__all__ = [
    "CallFailed",
    "CallTimedOut",
    "Cancelled",
    "Closed",
    "Empty",
    "Error",
    "Full",
    "InitializerFailed",
    "JoinableQueue",
    "JournalError",
    "NoWorkersLeft",
    "NotAccepted",
    "Pool",
    "Process",
    "ProcessPoolExecutor",
    "Queue",
    "SetupError",
    "SharedQueueError",
    "SimpleQueue",
    "SupervisorGone",
    "TaskDoneTooOften",
    "TimeoutError",
    "WorkerDied",
    "__version__",
    "get_context",
]
