"""Drop-ins for ``multiprocessing`` that no killed process can hang.

``import dishrack as mp`` in the place of ``import multiprocessing as mp``: the same names and
signatures, on supervised processes and queues whose items are acknowledged.
"""

from __future__ import annotations

from . import events
from ._native import __version__
from .context import default as _default
from .context import get_all_start_methods, get_context, get_start_method, set_start_method
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
    NotUnpickled,
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
from .queues import DeadLetter, Failure, JoinableQueue, Queue, SimpleQueue
from .supervisor import Supervisor

# The rest of ``multiprocessing`` is the standard library's.
AuthenticationError = _default.AuthenticationError
BufferTooShort = _default.BufferTooShort
ProcessError = _default.ProcessError
Array = _default.Array
Barrier = _default.Barrier
BoundedSemaphore = _default.BoundedSemaphore
Condition = _default.Condition
Event = _default.Event
Lock = _default.Lock
Manager = _default.Manager
Pipe = _default.Pipe
RLock = _default.RLock
RawArray = _default.RawArray
RawValue = _default.RawValue
Semaphore = _default.Semaphore
Value = _default.Value
active_children = _default.active_children
allow_connection_pickling = _default.allow_connection_pickling
cpu_count = _default.cpu_count
current_process = _default.current_process
freeze_support = _default.freeze_support
get_logger = _default.get_logger
log_to_stderr = _default.log_to_stderr
parent_process = _default.parent_process
set_executable = _default.set_executable
set_forkserver_preload = _default.set_forkserver_preload

__all__ = [
    "Array",
    "AuthenticationError",
    "Barrier",
    "BoundedSemaphore",
    "BufferTooShort",
    "CallFailed",
    "CallTimedOut",
    "Cancelled",
    "Closed",
    "Condition",
    "DeadLetter",
    "Empty",
    "Error",
    "Event",
    "Failure",
    "Full",
    "InitializerFailed",
    "JoinableQueue",
    "JournalError",
    "Lock",
    "Manager",
    "NoWorkersLeft",
    "NotAccepted",
    "NotUnpickled",
    "Pipe",
    "Pool",
    "Process",
    "ProcessError",
    "ProcessPoolExecutor",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SetupError",
    "SharedQueueError",
    "SimpleQueue",
    "Supervisor",
    "SupervisorGone",
    "TaskDoneTooOften",
    "TimeoutError",
    "Value",
    "WorkerDied",
    "__version__",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "events",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
]
