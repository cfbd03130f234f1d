"""``multiprocessing.Process`` on supervised processes.

Names, daemons, sentinels and exit codes are those of `multiprocessing.process.BaseProcess`, which this
builds on. What is different: the process is known to its queues, so that what it held when it died
goes to somebody else, and it never outlives the process that started it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from multiprocessing import context as _context
from multiprocessing import process as _process
from multiprocessing import resource_sharer, spawn, util
from typing import Any, List, Optional, Tuple

from . import _native
from ._worker import enclose
from .reduction import dumps

__all__ = ["Process"]


#: The modules that a fork server imports before it forks.
preloaded: List[str] = []


def program_of_workers() -> Tuple[str, List[str]]:
    """The interpreter that worker processes are, and its arguments."""
    executable = os.fsdecode(spawn.get_executable())
    path = [entry or _process.ORIGINAL_DIR or "" for entry in sys.path]
    code = f"import sys; sys.path[:] = {ascii(path)}; from dishrack import _worker; "
    code += f"_worker.main({preloaded!r})"
    return executable, [*util._args_from_interpreter_flags(), "-c", code]


#: The time in seconds for children to end by themselves after Ctrl-C.
_GRACE = 0.3


def _end_children_after_interrupt() -> None:
    """Ends all children when this program ends by Ctrl-C, which only it has heard.

    Worker processes have sessions of their own, so a terminal does not interrupt them. Without this
    the standard library would wait for those that are no daemons, which go on.
    """
    if getattr(sys, "last_type", None) is not KeyboardInterrupt:
        return
    children = [child for child in _process.active_children() if isinstance(child, Process)]
    for child in children:
        child.terminate()
    deadline = time.monotonic() + _GRACE
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        if child.exitcode is None:
            child.kill()


# Later than that of the standard library, so it runs before it.
atexit.register(_end_children_after_interrupt)


class _Popen:
    """What `BaseProcess` has in its ``_popen``: the process, once it was started."""

    method = "spawn"
    #: What a descriptor in the arguments is pickled as; a thread of this process hands it over.
    DupFd = staticmethod(resource_sharer.DupFd)

    def __init__(self, process_obj: _process.BaseProcess) -> None:
        util._flush_std_streams()
        _native.prepare()
        self.returncode: Optional[int] = None
        _context.set_spawning_popen(self)
        try:
            data, queues = dumps(process_obj)
            data = enclose(process_obj.name, data)
        finally:
            _context.set_spawning_popen(None)
        own = next((queue for queue in queues if queue.is_local()), None)
        self._worker = _native.WorkerProcess(
            process_obj.name, program_of_workers(), self.method, own, data, queues
        )
        self.pid = self._worker.pid
        try:
            self.sentinel = os.pidfd_open(self.pid)
        except ProcessLookupError:
            # It has ended already: the end of a pipe without a writer says so, too.
            self.sentinel, writer = os.pipe()
            os.close(writer)
        self.finalizer = util.Finalize(self, os.close, (self.sentinel,))

    def duplicate_for_child(self, fd: int) -> int:
        return fd

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

    _start_method = "spawn"

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return _Popen(process_obj)


class _ForkServerPopen(_Popen):
    method = "forkserver"


class ForkServerProcess(Process):
    """A process that is forked from a fresh interpreter in which modules are imported already."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return _ForkServerPopen(process_obj)
