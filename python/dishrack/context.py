"""The contexts of ``multiprocessing``, with the classes of this package in them.

What is not ours is the standard library's: locks, events, pipes, shared values and managers. They work
with the processes that are started here.
"""

from __future__ import annotations

import copy
from multiprocessing import context as _context
from typing import Any, List, Optional

from . import process, queues

__all__ = ["SpawnContext", "get_all_start_methods", "get_context", "get_start_method"]


class SpawnContext(_context.BaseContext):
    """Processes are fresh interpreters."""

    _name = "spawn"
    Process = process.Process
    #: Whether the workers of pools import the main module of this program.
    imports_main = True

    def without_main(self) -> SpawnContext:
        """The same context for pools whose workers need nothing of the main module."""
        other = copy.copy(self)
        other.imports_main = False
        return other

    def Queue(self, maxsize: int = 0, **options: Any) -> queues.Queue:  # noqa: N802
        """A `dishrack.Queue`, with its keywords."""
        return queues.Queue(maxsize, ctx=self.get_context(), **options)

    def JoinableQueue(  # noqa: N802
        self, maxsize: int = 0, **options: Any
    ) -> queues.JoinableQueue:
        """A `dishrack.JoinableQueue`, with its keywords."""
        return queues.JoinableQueue(maxsize, ctx=self.get_context(), **options)

    def SimpleQueue(self) -> queues.SimpleQueue:  # noqa: N802
        """A `dishrack.SimpleQueue`."""
        return queues.SimpleQueue(ctx=self.get_context())

    def get_context(self, method: Optional[str] = None) -> SpawnContext:
        """The context of this start method; this one, if none is named."""
        return self if method is None else get_context(method)

    def Pool(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
        """A `dishrack.Pool`."""
        from .pool import Pool

        kwargs.setdefault("context", self.get_context())
        return Pool(*args, **kwargs)

    def get_start_method(self, allow_none: bool = False) -> str:
        """The name of the way in which processes are started."""
        return self._name

    def set_start_method(self, method: Optional[str], force: bool = False) -> None:
        """Says that processes are started in this way."""
        get_context(method)


class ForkServerContext(SpawnContext):
    """Processes are forked from a fresh interpreter, which has imported what was preloaded.

    Each process has a fork server of its own so far, so a start takes no less time than a fresh
    interpreter.
    """

    _name = "forkserver"
    Process = process.ForkServerProcess

    def set_forkserver_preload(self, module_names: List[str]) -> None:
        """Names the modules that are imported before the forks. They must start no threads."""
        process.preloaded[:] = module_names


default = SpawnContext()
_forkserver = ForkServerContext()


def get_context(method: Optional[str] = None) -> SpawnContext:
    """The context of this start method: its classes start processes in that way.

    >>> import dishrack as mp
    >>> mp.get_context("spawn").get_start_method()
    'spawn'
    """
    if method in (None, "spawn"):
        return default
    if method == "forkserver":
        return _forkserver
    raise ValueError(f"cannot find context for {method!r}: there are {get_all_start_methods()}")


def get_start_method(allow_none: bool = False) -> str:
    """The name of the way in which processes are started."""
    return default.get_start_method()


def get_all_start_methods() -> List[str]:
    """The names of all start methods, the default one first."""
    return ["spawn", "forkserver"]
