"""What a worker does before, around and after its calls, and how exceptions travel.

The native half makes the calls; it comes here once for each worker, and for what goes wrong.
"""

from __future__ import annotations

import atexit
import os
import pickle
import select
import signal
import threading
import time
from multiprocessing import process as _process
from multiprocessing import util
from types import BuiltinFunctionType, FunctionType

from . import _native
from ._worker import enclose, load
from .reduction import PROTOCOL, dumps, loads, names_hidden_main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Sequence, Tuple

__all__ = [
    "Targets",
    "Worker",
    "begin",
    "context_of",
    "cpus",
    "dead",
    "end",
    "not_unpickled",
    "raised",
    "rebuilt",
    "report",
    "target_of",
    "unpicklable",
    "unread",
    "unready",
]

#: Whose calls a worker makes: those of a "pool" or of an "executor".
_kind = "executor"


def context_of(
    ctx: Any,
    name: str,
    kind: str,
    initializer: Optional[Callable[..., object]],
    initargs: Tuple[Any, ...],
) -> Tuple[bytes, Sequence[_native.Queue]]:
    """What `begin` is given, pickled."""
    data, queues = dumps((kind, initializer, initargs))
    return enclose(name, data, getattr(ctx, "imports_main", True)), queues


def begin(pickled: bytes, queues: Sequence[_native.Queue]) -> Optional[bytes]:
    """Prepares a worker, and runs its initializer. Returns what that raised, pickled."""
    global _kind
    try:
        _kind, initializer, initargs = load(pickled, queues)
        # As in multiprocessing, a pool's worker has no children of that package.
        _process.current_process()._config["daemon"] = _kind == "pool"
        if initializer is not None:
            initializer(*initargs)
        return None
    except BaseException as error:
        if _kind == "executor":
            from concurrent.futures._base import LOGGER

            LOGGER.critical("Exception in initializer:", exc_info=True)
        else:
            import traceback

            traceback.print_exc()
        return raised(error)


def end() -> None:
    """Ends a worker as the end of a program does, in that order: an executor that a call has left here
    tells its own workers to end in the first step, and the second one waits for them."""
    threading._shutdown()
    util._exit_function()
    atexit._run_exitfuncs()
    util._flush_std_streams()


def raised(error: BaseException) -> bytes:
    """Pickles an exception, and its traceback as text."""
    import traceback

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        data, _ = dumps(error)
        loads(data)
    except Exception as why:
        other = _unencoded(why, error)
        other.__traceback__ = None
        data, _ = dumps(other)
    return pickle.dumps((_kind, data, f'\n"""\n{text}"""'), PROTOCOL)


def unpicklable(why: BaseException, value: Any) -> bytes:
    """Pickles the exception for a value that cannot be pickled."""
    return raised(_unencoded(why, value))


def _unencoded(why: BaseException, value: Any) -> BaseException:
    if _kind != "pool":
        return why
    from multiprocessing.pool import MaybeEncodingError

    return MaybeEncodingError(why, value)


def not_unpickled(why: BaseException) -> bytes:
    """Pickles the exception for a call that cannot be unpickled here."""
    from . import errors

    error = errors.NotUnpickled(f"a call could not be unpickled in its worker: {why!r}")
    error.__cause__ = why
    return raised(error)


def unread(why: BaseException) -> BaseException:
    """The exception for a value that cannot be unpickled here."""
    from . import errors

    error = errors.NotUnpickled(f"the value of a call could not be unpickled: {why!r}")
    error.__cause__ = why
    return error


def rebuilt(data: bytes) -> BaseException:
    """The exception that a call raised; its cause is its traceback there."""
    from concurrent.futures.process import _RemoteTraceback
    from multiprocessing.pool import RemoteTraceback

    from . import errors

    if not data:
        return errors.CallFailed("a call raised, and its worker could not even say what")
    kind, data, text = pickle.loads(data)
    try:
        error = pickle.loads(data)
    except Exception as why:
        error = errors.CallFailed(f"a call raised what cannot be unpickled here: {why!r}")
    error.__cause__ = (RemoteTraceback if kind == "pool" else _RemoteTraceback)(text)
    return error


def unready(data: bytes) -> BaseException:
    """The exception for a call to a worker whose initializer has raised."""
    from . import errors

    why = rebuilt(data)
    error = errors.InitializerFailed(f"the initializer of a worker raised {why!r}")
    error.__cause__ = why
    return error


_DEAD = {
    "cancelled": ("Cancelled", "the call was cancelled"),
    "timed_out": ("CallTimedOut", "a call took too long"),
    "worker_died": ("WorkerDied", "the workers that made a call died"),
    "failed": ("CallFailed", "a call could not be made"),
}


def dead(kind: str, attempts: int, causes: List[str], stderr: str) -> BaseException:
    """The exception of a call that has no value because of what happened to its workers."""
    from . import errors

    cls, words = _DEAD[kind]
    times = {0: "", 1: " at its only attempt"}.get(attempts, f" at each of {attempts} attempts")
    last = f": {causes[-1]}" if causes and kind != "cancelled" else ""
    error = getattr(errors, cls)(f"{words}{times}{last}")
    error.attempts, error.causes, error.stderr = attempts, causes, stderr
    return error


#: Functions of these types are pickled by their names, and one of them may serve many calls.
_BY_NAME = (FunctionType, BuiltinFunctionType, type)


def target_of(function: Callable[..., Any], shape: str) -> Tuple[_native.Target, bool]:
    """A function for many calls, and whether it is always pickled like this."""
    if type(function) in _BY_NAME:
        try:
            data = pickle.dumps(function, PROTOCOL)
            if not names_hidden_main(data):
                return _native.Target(data, (), shape, True), True
        except Exception:
            # It has no name that others find it by.
            pass
    data, queues = dumps(function)
    return _native.Target(data, queues, shape, type(function) in _BY_NAME), False


class Targets:
    """The functions that were called last, pickled."""

    _KEPT = 64

    def __init__(self) -> None:
        self._known: dict = {}

    def get(self, function: Callable[..., Any], shape: str) -> _native.Target:
        key = (function, shape) if type(function) in _BY_NAME else None
        target = self._known.get(key)
        if target is None:
            target, is_constant = target_of(function, shape)
            if is_constant:
                if len(self._known) >= self._KEPT:
                    self._known.clear()
                self._known[key] = target
        return target


class Worker:
    """A worker of a pool, as far as its pid goes: it is started, watched and replaced elsewhere."""

    def __init__(self, calls: _native.CallPool, pid: int) -> None:
        self._calls, self.pid = calls, pid

    def __repr__(self) -> str:
        return f"<Worker pid={self.pid}>"

    def is_alive(self) -> bool:
        """Whether it is one of its pool's workers still."""
        return self.pid in self._calls.pids()

    def join(self, timeout: Optional[float] = None) -> None:
        """Waits until it has ended, at most so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            select.select([pidfd], [], [], left)
        finally:
            os.close(pidfd)

    def terminate(self) -> None:
        """Sends it SIGTERM. Another one takes its place."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Sends it SIGKILL. Another one takes its place."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.is_alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                # It has ended just now.
                pass


def report(error: BaseException) -> None:
    """Reports what a callback raised, as `threading` does for a thread."""
    args = (type(error), error, error.__traceback__, threading.current_thread())
    threading.excepthook(threading.ExceptHookArgs(args))


def cpus() -> int:
    """The number of workers where none is given."""
    count = getattr(os, "process_cpu_count", os.cpu_count)
    return count() or 1


