"""The contexts of ``multiprocessing``, with the classes of this package in them."""

from __future__ import annotations

from multiprocessing import context as _context
from typing import Any, Optional

from . import process, queues

__all__ = ["get_context"]


class SpawnContext(_context.BaseContext):
    """Processes are fresh interpreters."""

    _name = "spawn"
    Process = process.Process

    def Queue(self, maxsize: int = 0) -> queues.Queue:  # noqa: N802
        """A `dishrack.Queue`."""
        return queues.Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize: int = 0) -> queues.JoinableQueue:  # noqa: N802
        """A `dishrack.JoinableQueue`."""
        return queues.JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self) -> queues.SimpleQueue:  # noqa: N802
        """A `dishrack.SimpleQueue`."""
        return queues.SimpleQueue(ctx=self.get_context())


    def Pool(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
        """A `dishrack.Pool`."""
        from .pool import Pool

        kwargs.setdefault("context", self.get_context())
        return Pool(*args, **kwargs)


_spawn = SpawnContext()


def get_context(method: Optional[str] = None) -> Any:
    """The context of this start method: its classes start processes in that way."""
    if method in (None, "spawn"):
        return _spawn
    raise ValueError(f"cannot find context for {method!r}")
