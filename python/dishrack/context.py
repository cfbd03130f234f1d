"""The contexts of ``multiprocessing``, with the classes of this package in them.

What is not ours is the standard library's: locks, events, pipes, shared values and managers. They work
with the processes that are started here.
"""

from __future__ import annotations

import copy
from multiprocessing import context as _context

from . import process, queues

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

__all__ = [
    "Context",
    "get_all_start_methods",
    "get_context",
    "get_start_method",
    "set_start_method",
]


_NO_FORK = (
    "there is no start method 'fork' here: this process has threads that serve its queues and workers,"
    " and a copy of it would have their locks without the threads. 'forkserver' forks, too, from a"
    " process without threads: name in set_forkserver_preload what is to be loaded only once"
)


class Context(_context.BaseContext):
    """What all contexts share."""

    _name: str
    Process = process.Process
    #: Whether the workers of pools import the main module of this program.
    imports_main = True

    def without_main(self) -> Context:
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

    def get_context(self, method: Optional[str] = None) -> Context:
        """The context of this start method; this one, if none is named."""
        if method is None:
            return self
        if method == "fork":
            raise ValueError(_NO_FORK)
        if method not in _contexts:
            raise ValueError(
                f"cannot find context for {method!r}: there are {get_all_start_methods()}"
            )
        return _contexts[method]

    def Pool(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
        """A `dishrack.Pool`."""
        from .pool import Pool

        kwargs.setdefault("context", self.get_context())
        return Pool(*args, **kwargs)

    def get_start_method(self, allow_none: bool = False) -> Optional[str]:
        """The name of the way in which processes are started."""
        return self._name

    def set_start_method(self, method: Optional[str], force: bool = False) -> None:
        """Cannot be said of a context that has its way already."""
        raise ValueError("cannot set start method of concrete context")

    def set_forkserver_preload(self, module_names: List[str]) -> None:
        """Names the modules that the next fork server imports before it forks.

        They must start no threads. ``"__main__"`` is the main module, which each process imports by
        itself otherwise.
        """
        if not all(type(name) is str for name in module_names):
            raise TypeError("module_names must be a list of strings")
        process.preloaded[:] = module_names


class SpawnContext(Context):
    """Processes are fresh interpreters."""

    _name = "spawn"
    Process = process.SpawnProcess


class ForkServerContext(Context):
    """Processes are forked from a fresh interpreter, which is there once and has imported much already."""

    _name = "forkserver"
    Process = process.ForkServerProcess


class _DefaultContext(Context):
    """The context of whoever asks for none: what `set_start_method` has said, or forkserver."""

    _chosen: Optional[Context] = None

    def get_context(self, method: Optional[str] = None) -> Context:
        """The context of this start method, or the default one, which stays that from now on."""
        if method is not None:
            return super().get_context(method)
        if self._chosen is None:
            self._chosen = _contexts["forkserver"]
        return self._chosen

    def get_start_method(self, allow_none: bool = False) -> Optional[str]:
        """The name of the default way; ``None`` if nobody has asked for it and that is allowed."""
        if self._chosen is None and allow_none:
            return None
        return self.get_context()._name

    def set_start_method(self, method: Optional[str], force: bool = False) -> None:
        """Makes this the default way. Once there is one, that takes ``force``."""
        if self._chosen is not None and not force:
            raise RuntimeError("context has already been set")
        self._chosen = None if method is None else super().get_context(method)


_contexts: Dict[str, Context] = {"forkserver": ForkServerContext(), "spawn": SpawnContext()}
default: _DefaultContext = _DefaultContext()


def get_context(method: Optional[str] = None) -> Context:
    """The context of this start method: its classes start processes in that way.

    >>> import dishrack as mp
    >>> mp.get_context("spawn").get_start_method()
    'spawn'
    """
    return default.get_context(method)


def get_start_method(allow_none: bool = False) -> Optional[str]:
    """The name of the way in which processes are started if nobody says another one."""
    return default.get_start_method(allow_none)


def set_start_method(method: Optional[str], force: bool = False) -> None:
    """Sets the way in which processes are started if nobody says another one."""
    default.set_start_method(method, force)


def get_all_start_methods() -> List[str]:
    """The names of all start methods, the default one first."""
    return list(_contexts)
