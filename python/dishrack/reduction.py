"""Pickling: what travels to another process, and the queues that travel in it.

A queue is pickled as its place in a list of queues, which the native half sends beside the pickle.
It can only be pickled here, so a queue that is pickled by somebody else is an error, as in
``multiprocessing``.
"""

from __future__ import annotations

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


def dumps(obj: Any) -> Tuple[bytes, Sequence[_native.Queue]]:
    """Pickles an object. Returns the queues that are in it, too.

    Functions that ``pickle`` cannot find by name go by ``cloudpickle``, where it is installed.
    """
    if type(obj) in _PLAIN:
        return pickle.dumps(obj, PROTOCOL), ()
    before = _travelling.queues
    _travelling.queues = queues = []
    try:
        try:
            file = io.BytesIO()
            reduction.ForkingPickler(file, PROTOCOL).dump(obj)
            return file.getvalue(), queues
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            try:
                import cloudpickle
            except ImportError:
                raise error from None
            queues.clear()
            return cloudpickle.dumps(obj, PROTOCOL), queues
    finally:
        _travelling.queues = before


def loads(data: bytes, queues: Sequence[_native.Queue] = ()) -> Any:
    """Unpickles an object in which these queues are."""
    if not queues:
        return pickle.loads(data)
    before = _travelling.queues
    _travelling.queues = list(queues)
    try:
        return pickle.loads(data)
    finally:
        _travelling.queues = before
