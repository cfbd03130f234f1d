"""Pickling: what travels to another process, and the queues that travel in it.

A queue is pickled as its place in a list of queues, which the native half sends beside the pickle.
It can only be pickled here, so a queue that is pickled by somebody else is an error, as in
``multiprocessing``.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import threading
from multiprocessing import reduction
from typing import TYPE_CHECKING, Any, List, Optional, Sequence, Tuple

if TYPE_CHECKING:
    from . import _native

__all__ = ["dumps", "loads"]

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


def _pickler(file: io.BytesIO, buffers: Optional[_native.LargeBuffers]) -> pickle.Pickler:
    """A pickler with the reducers of ``multiprocessing``."""
    pickler = pickle.Pickler(file, PROTOCOL, buffer_callback=buffers)
    table = copyreg.dispatch_table.copy()
    table.update(reduction.ForkingPickler._extra_reducers)
    pickler.dispatch_table = table
    return pickler


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
            file = io.BytesIO()
            _pickler(file, buffers).dump(obj)
            return file.getvalue(), queues
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            try:
                import cloudpickle
            except ImportError:
                raise error from None
            queues.clear()
            if buffers is not None:
                buffers.clear()
            return cloudpickle.dumps(obj, PROTOCOL, buffer_callback=buffers), queues
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
