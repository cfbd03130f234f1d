"""Drop-ins for ``multiprocessing`` that no killed process can hang.

``import dishrack as mp`` in the place of ``import multiprocessing as mp``: the same names and
signatures, on supervised processes and queues whose items are acknowledged.
"""

from __future__ import annotations

import sys

from . import _native

if not getattr(sys, "_is_gil_enabled", lambda: True)():
    raise ImportError(
        "dishrack needs the interpreter's lock (GIL), which a free-threaded Python enables when it imports"
        " this package: unset PYTHON_GIL, and do not say -X gil=0"
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import events
    from .context import default as _default
    from .context import (
        get_all_start_methods,
        get_context,
        get_start_method,
        set_start_method,
    )
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
    from .letters import DeadLetter, Failure
    from .pool import Pool
    from .process import Process
    from .queues import JoinableQueue, Queue, SimpleQueue
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

__version__ = _native.__version__

#: The modules in which the names of this package are, each imported when one of them is asked for: a worker
#: process has to start fast, and needs few of them.
_PLACES = {
    "context": ("get_all_start_methods", "get_context", "get_start_method", "set_start_method"),
    "errors": (
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
    ),
    "events": (),
    "executor": ("ProcessPoolExecutor",),
    "letters": ("DeadLetter", "Failure"),
    "pool": ("Pool",),
    "process": ("Process",),
    "progress": (),
    "queues": ("JoinableQueue", "Queue", "SimpleQueue"),
    "reduction": (),
    "supervisor": ("Supervisor",),
}

_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}


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


def __getattr__(name: str) -> object:
    import importlib

    if name in _PLACES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = importlib.import_module(f"{__name__}.{_PLACE_OF.get(name, 'context')}")
    # What is in none of them is the standard library's.
    value = getattr(place if name in _PLACE_OF else place.default, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES, *__all__})
