"""Pickling: what travels to another process, and the queues that travel in it.

A queue is pickled as its place in a list of queues, which the native half sends beside the pickle.
It can only be pickled here, so a queue that is pickled by somebody else is an error, as in
``multiprocessing``.
"""

from __future__ import annotations

import collections
import copyreg
import functools
import io
import os
import pickle
import sys
import threading
from multiprocessing import process as _process
from multiprocessing import reduction
from types import FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List, Optional, Sequence, Tuple

    from . import _native

__all__ = [
    "dumps",
    "dumps_by_value",
    "has_importable_main",
    "loads",
    "names_hidden_main",
    "tell_of_main",
]

PROTOCOL = 5

#: Types that need no more than the plain pickler.
_PLAIN = frozenset({bytes, str, int, float, bool, type(None), complex, bytearray})


class _Travelling(threading.local):
    """The queues in what this thread pickles or unpickles, or ``None`` when it does neither."""

    queues: Optional[List[_native.Queue]] = None


_travelling = _Travelling()

_NOWHERE = (
    "a queue can only be given to a process when that is started, or be part of an item of a queue:"
    " elsewhere it names nothing"
)


def place_of(queue: _native.Queue) -> int:
    """Adds a queue to those that travel now; its place among them."""
    queues = _travelling.queues
    if queues is None:
        raise RuntimeError(_NOWHERE)
    queues.append(queue)
    return len(queues) - 1


def queue_at(place: int) -> _native.Queue:
    """The queue at this place of those that arrive now."""
    queues = _travelling.queues
    if queues is None:
        raise RuntimeError(_NOWHERE)
    return queues[place]


#: What a worker was told by its parent of the main module.
_told: Optional[bool] = None


def tell_of_main(is_importable: bool) -> None:
    """Says whether this worker has the main module of its parent."""
    global _told
    _told = is_importable


def has_importable_main() -> bool:
    """Whether a worker can import the main module: not that of ``python -c``, of stdin or of a notebook."""
    if _told is not None:
        return _told
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None:
        return True
    path = getattr(main, "__file__", None)
    return path is not None and _is_there(path)


@functools.lru_cache(maxsize=4)
def _is_there(path: str) -> bool:
    return os.path.exists(os.path.join(_process.ORIGINAL_DIR or "", path))


def names_hidden_main(data: bytes) -> bool:
    """Whether something in this pickle is named as a part of a main module that nobody can import."""
    return b"__main__" in data and not has_importable_main()


@functools.lru_cache(maxsize=None)
def _by_value() -> Any:
    """The pickler for what cannot be found by its name: that of ``cloudpickle``, where it is installed."""
    try:
        import cloudpickle
    except ImportError:
        return None
    reducers = reduction.ForkingPickler._extra_reducers
    table = collections.ChainMap(reducers, cloudpickle.Pickler.dispatch_table)
    return type("ByValue", (cloudpickle.Pickler,), {"dispatch_table": table})


class _Plain(pickle.Pickler):
    """The pickler with the reducers of ``multiprocessing``."""

    def __init__(self, file: io.BytesIO, protocol: int, buffer_callback: Any = None) -> None:
        super().__init__(file, protocol, buffer_callback=buffer_callback)
        self.dispatch_table = copyreg.dispatch_table.copy()
        self.dispatch_table.update(reduction.ForkingPickler._extra_reducers)


class _Explaining(_Plain):
    """Refuses what is named as a part of the main module."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, FunctionType)) and obj.__module__ == "__main__":
            raise pickle.PicklingError(
                f"{obj.__qualname__} is defined in a main module without a file, so that no other process"
                " can import it: install cloudpickle, or define it in a module"
            )
        return NotImplemented


def _dump(pickler: Any, obj: Any, buffers: Optional[_native.LargeBuffers] = None) -> bytes:
    file = io.BytesIO()
    pickler(file, PROTOCOL, buffer_callback=buffers).dump(obj)
    return file.getvalue()


def dumps_by_value(obj: Any) -> bytes:
    """Pickles an object in which there may be parts of a main module that nobody can import."""
    return _dump(_by_value() or _Explaining, obj)


def dumps(
    obj: Any, buffers: Optional[_native.LargeBuffers] = None
) -> Tuple[bytes, Sequence[_native.Queue]]:
    """Pickles an object. Returns the queues that are in it, too.

    Functions that ``pickle`` cannot find by name go by ``cloudpickle``, where it is installed.
    ``buffers`` takes the large buffers of protocol 5, which the pickle leaves out then.
    """
    if type(obj) in _PLAIN:
        return pickle.dumps(obj, PROTOCOL), ()
    before = _travelling.queues
    _travelling.queues = queues = []
    try:
        try:
            data = _dump(_Plain, obj, buffers)
        except (pickle.PicklingError, AttributeError, TypeError):
            pickler = _by_value()
            if pickler is None:
                raise
        else:
            if not names_hidden_main(data):
                return data, queues
            pickler = _by_value() or _Explaining
        queues.clear()
        if buffers is not None:
            buffers.clear()
        return _dump(pickler, obj, buffers), queues
    finally:
        _travelling.queues = before


def loads(data: bytes, queues: Sequence[_native.Queue] = (), buffers: Sequence[Any] = ()) -> Any:
    """Unpickles an object in which these queues are, and beside which these buffers came."""
    if not queues:
        return pickle.loads(data, buffers=buffers)
    before = _travelling.queues
    _travelling.queues = list(queues)
    try:
        return pickle.loads(data, buffers=buffers)
    finally:
        _travelling.queues = before


def view_of(memory: _native.Memory) -> memoryview:
    """A view of a buffer that has come, to be written to. It keeps the memory as long as it exists."""
    import ctypes

    array = (ctypes.c_char * memory.length).from_address(memory.address)
    array._memory = memory
    return memoryview(array).cast("B")
