"""``multiprocessing.Process`` on supervised processes.

Names, daemons, sentinels and exit codes are those of `multiprocessing.process.BaseProcess`, which this
builds on. What is different: the process is known to its queues, so that what it held when it died
goes to somebody else, and it never outlives the process that started it.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import time
import weakref
from multiprocessing import context as _context
from multiprocessing import process as _process
from multiprocessing import spawn, util

from . import _native
from ._worker import enclose
from .reduction import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

__all__ = ["Process"]


#: The modules that the next fork server imports before it forks.
preloaded: List[str] = []

#: The program of the fork server, and what it was made for.
_server: Optional[Tuple[Any, Tuple[str, List[str]]]] = None


def program_of_workers(method: str) -> Tuple[str, List[str]]:
    """The interpreter that worker processes are, or are forked from, and its arguments."""
    global _server
    executable = os.fsdecode(spawn.get_executable())
    flags = util._args_from_interpreter_flags()
    if method != "forkserver":
        return executable, [*flags, "-c", _code("main()")]
    made_for = executable, flags, list(preloaded)
    if _server is None or _server[0] != made_for:
        # It keeps the paths of this moment. Each process is given its parent's own.
        code = _code(f"main_of_server({preloaded!r}, {_main_module()!r})")
        _server = made_for, (executable, [*flags, "-c", code])
    return _server[1]


def _code(call: str) -> str:
    path = [entry or _process.ORIGINAL_DIR or "" for entry in sys.path]
    return f"import sys; sys.path[:] = {ascii(path)}; from dishrack import _worker; _worker.{call}"


def _main_module() -> Dict[str, str]:
    """What the main module is found by, if it is to be preloaded."""
    if "__main__" not in preloaded:
        return {}
    data = spawn.get_preparation_data("fork-server")
    return {key: data[key] for key in data if key.startswith("init_main_from_")}


#: The time in seconds for children to end by themselves after Ctrl-C.
_GRACE = 0.3

#: The children that were there at a Ctrl-C that was heard in a call of this package.
_interrupted: weakref.WeakSet[Process] = weakref.WeakSet()


def is_ending_by_interrupt() -> bool:
    """Whether this program ends, and by Ctrl-C."""
    return getattr(sys, "last_type", None) is KeyboardInterrupt


def is_interrupt(error: Optional[BaseException]) -> bool:
    """Whether this is Ctrl-C, or what somebody has made of it."""
    seen = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def note_interrupt() -> None:
    """Notes that this process has heard Ctrl-C while it waited here."""
    _interrupted.update(_children())


def _children() -> List[Process]:
    return [child for child in _process.active_children() if isinstance(child, Process)]


def _end_children_after_interrupt() -> None:
    """Ends the children that a terminal would have interrupted, when this program ends.

    Worker processes have sessions of their own, so only this program hears Ctrl-C. Without this the
    standard library would wait for those that are no daemons, which go on.
    """
    is_ending = is_ending_by_interrupt()
    children = [child for child in _children() if is_ending or child in _interrupted]
    for child in children:
        child.terminate()
    deadline = time.monotonic() + _GRACE
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        if child.exitcode is None:
            child.kill()


# Later than that of the standard library, so it runs before it.
atexit.register(_end_children_after_interrupt)


class _File:
    """An open file on its way to a process that is started: its place among those that go along."""

    def __init__(self, place: int) -> None:
        self._place = place

    def detach(self) -> int:
        """Takes its descriptor, in that process."""
        descriptor = _native.take_file(self._place)
        if descriptor is None:
            raise OSError(errno.EBADF, "an open file that came with this process was taken already")
        return descriptor


class Departure:
    """What is being started, as the reducers of ``multiprocessing`` know it.

    Open files in what is pickled within it, of connections and shared values, go along.
    """

    DupFd = _File

    def __init__(self) -> None:
        self.files: List[int] = []

    def duplicate_for_child(self, fd: int) -> int:
        self.files.append(fd)
        return len(self.files) - 1

    def __enter__(self) -> Departure:
        _context.set_spawning_popen(self)
        return self

    def __exit__(self, *_: object) -> None:
        _context.set_spawning_popen(None)


def departing(process: _process.BaseProcess, method: str) -> Tuple[Any, ...]:
    """What a worker that runs this process is given: by which program, the queue that it works for, its
    pickle, the queues in that, and the open files."""
    util._flush_std_streams()
    _native.prepare()
    with Departure() as departure:
        data, queues = dumps(process)
        data = enclose(process.name, data)
    own = next((queue for queue in queues if queue.is_local()), None)
    return (program_of_workers(method), method), own, data, queues, departure.files


class _Popen:
    """What `BaseProcess` has in its ``_popen``: the process, once it was started."""

    def __init__(self, process_obj: _process.BaseProcess, method: str) -> None:
        self.method = method
        self.returncode: Optional[int] = None
        self._worker = _native.WorkerProcess(process_obj.name, *departing(process_obj, method))
        self.pid = self._worker.pid
        try:
            self.sentinel = os.pidfd_open(self.pid)
        except ProcessLookupError:
            # It has ended already: the end of a pipe without a writer says so, too.
            self.sentinel, writer = os.pipe()
            os.close(writer)
        self.finalizer = util.Finalize(self, os.close, (self.sentinel,))

    def wait(self, timeout: Optional[float] = None) -> Optional[int]:
        if self.returncode is None:
            self.returncode = self._worker.wait(timeout)
        return self.returncode

    def poll(self, flag: int = os.WNOHANG) -> Optional[int]:
        return self.wait(0 if flag == os.WNOHANG else None)

    def _send_signal(self, number: int) -> None:
        if self.returncode is None:
            try:
                signal.pidfd_send_signal(self.sentinel, number)
            except OSError:
                # It has ended.
                pass

    def interrupt(self) -> None:
        self._send_signal(signal.SIGINT)

    def terminate(self) -> None:
        self._send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._send_signal(signal.SIGKILL)

    def close(self) -> None:
        self.finalizer()


class Process(_process.BaseProcess):
    """A process that runs ``target(*args, **kwargs)``: ``multiprocessing.Process``.

    If it dies while it holds an item of a queue that was among its arguments, the item goes to another
    consumer.

    >>> import dishrack as mp
    >>> process = mp.Process(target=print, args=("dried",), name="dryer")
    >>> process.name
    'dryer'
    """

    _start_method: Optional[str] = None

    @classmethod
    def _Popen(cls, process_obj: Any) -> Any:
        from . import context

        return _Popen(process_obj, cls._start_method or context.get_start_method())


class SpawnProcess(Process):
    """A process that is a fresh interpreter."""

    _start_method = "spawn"


class ForkServerProcess(Process):
    """A process that is forked from a fresh interpreter in which modules are imported already."""

    _start_method = "forkserver"
