"""The queues of ``multiprocessing``, by their names and signatures, on queues that lose nothing.

An item is handed out and stays known until it is acknowledged: by ``task_done`` on a
`JoinableQueue`, by the next ``get`` on a `Queue` or a `SimpleQueue`. What a process held when it died
goes to another consumer.
"""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Tuple

from . import _native
from .errors import TimeoutError
from .reduction import place_of, queue_at

__all__ = ["DeadLetter", "Failure", "JoinableQueue", "Queue", "SimpleQueue"]


def _rebuild(cls: type, place: int, maxsize: int) -> Any:
    return cls._arrived(queue_at(place), maxsize)


class _Base:
    """What the three kinds share: a native handle, and the way in which it travels."""

    _native: _native.Queue
    _maxsize: int
    _joinable = False
    _closed = False

    @classmethod
    def _arrived(cls, native: _native.Queue, maxsize: int) -> Any:
        self = cls.__new__(cls)
        self._native = native.as_joinable(cls._joinable)
        self._maxsize = maxsize
        return self

    def __reduce__(self) -> Tuple[Any, ...]:
        return _rebuild, (type(self), place_of(self._native), self._maxsize)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")

    def _put(self, obj: Any, timeout: Optional[float]) -> None:
        self._native.put(obj, timeout)

    def _get(self, timeout: Optional[float]) -> Any:
        return self._native.get(timeout)

    def empty(self) -> bool:
        """Whether no item waits."""
        return self._native.qsize() == 0


def _time_of(block: bool, timeout: Optional[float]) -> Optional[float]:
    if not block:
        return 0.0
    return None if timeout is None else max(0.0, timeout)


class Queue(_Base):
    """A queue for any number of producers and consumers in threads and processes.

    It is ``multiprocessing.Queue``, without its feeder thread: when `put` has returned, the item is
    on the queue, whatever process dies.

    >>> import dishrack as mp
    >>> queue = mp.Queue()
    >>> queue.put("cup")
    >>> queue.get()
    'cup'
    """

    def __init__(
        self,
        maxsize: int = 0,
        *,
        ctx: Any = None,
        max_attempts: Optional[int] = None,
        backoff: Optional[Tuple[float, float]] = None,
    ) -> None:
        """Makes a queue in which at most ``maxsize`` items wait; 0 means no bound.

        An item is handed out ``max_attempts`` times, 3 if it is not said, before it is a dead letter.
        Between the attempts it rests for the first of the seconds in ``backoff``, then for twice as
        long each time, up to the second of them.
        """
        self._maxsize = max(0, maxsize)
        self._native = _native.Queue(self._maxsize, self._joinable, max_attempts, backoff)

    def put(self, obj: Any, block: bool = True, timeout: Optional[float] = None) -> None:
        """Puts an item on the queue; waits for room if it is full.

        Raises `dishrack.Full` (a `queue.Full`) when there is none in ``timeout`` seconds, or at once
        if not ``block``; and what ``pickle`` raises for an object that cannot be pickled.
        """
        self._check_open()
        self._put(obj, _time_of(block, timeout))

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        """Takes the next item; waits for one if there is none.

        Raises `dishrack.Empty` (a `queue.Empty`) when there is none in ``timeout`` seconds, or at once
        if not ``block``.
        """
        self._check_open()
        return self._get(_time_of(block, timeout))

    def put_nowait(self, obj: Any) -> None:
        """Puts an item if there is room now."""
        self.put(obj, False)

    def get_nowait(self) -> Any:
        """Takes an item if there is one now."""
        return self.get(False)

    def qsize(self) -> int:
        """The number of items that nobody has got yet."""
        return self._native.qsize()

    def full(self) -> bool:
        """Whether a `put` would have to wait."""
        return self._native.full()

    def close(self) -> None:
        """Says that this handle is not used any more. Other handles of the queue are."""
        self._closed = True

    def join_thread(self) -> None:
        """Does nothing: there is no feeder thread to wait for."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Does nothing: what `put` has returned from is on the queue."""


class JoinableQueue(Queue):
    """A queue whose items are acknowledged, and which can be joined.

    Whatever process dies, no accepted item is lost and `join` does not hang: what a dead consumer held
    goes to another one, and if there is none, `join` raises `dishrack.NoWorkersLeft`.

    >>> import dishrack as mp
    >>> queue = mp.JoinableQueue()
    >>> queue.put("cup")
    >>> queue.get()
    'cup'
    >>> queue.task_done()
    >>> queue.join()
    """

    _joinable = True

    def task_done(self) -> None:
        """Acknowledges the oldest item that this process got and has not acknowledged.

        Raises `dishrack.TaskDoneTooOften` (a `ValueError`) if there is none.
        """
        self._native.task_done()

    def join(self, timeout: Optional[float] = None) -> None:
        """Waits until every item that was put is done.

        Raises `dishrack.NoWorkersLeft` when items are unfinished and nobody is left to work on them,
        and `dishrack.TimeoutError` when ``timeout`` seconds are over, which says who holds what.
        """
        try:
            self._native.join(timeout)
        except TimeoutError as error:
            error.holders = self._native.holders()
            if error.holders:
                error.args = (f"{error}: {'; '.join(error.holders)}",)
            raise

    def take_dead_letters(self) -> List[DeadLetter]:
        """Takes the items that were given up on, oldest first, with what has happened to them.

        >>> import dishrack as mp
        >>> mp.JoinableQueue().take_dead_letters()
        []
        """
        letters = self._native.take_dead_letters()
        return [
            DeadLetter(number, pickled.load(), [Failure(*failure) for failure in history])
            for number, pickled, history in letters
        ]


class Failure(NamedTuple):
    """A failed attempt at an item."""

    #: Its number, from 1 on.
    attempt: int
    #: Why it failed, in words.
    cause: str
    #: The name of the process that had the item, and its pid.
    worker: str
    pid: int
    #: The end of what the process wrote to stderr.
    stderr: str


class DeadLetter(NamedTuple):
    """An item that was given up on."""

    #: The item's number.
    number: int
    item: Any
    #: Every failed attempt, oldest first.
    history: List[Failure]


class SimpleQueue(_Base):
    """A queue with fewer methods: ``multiprocessing.SimpleQueue``."""

    def __init__(self, *, ctx: Any = None) -> None:
        self._maxsize = 0
        self._native = _native.Queue(0, False, None, None)

    def put(self, obj: Any) -> None:
        """Puts an item on the queue."""
        self._check_open()
        self._put(obj, None)

    def get(self) -> Any:
        """Takes the next item; waits for one if there is none."""
        self._check_open()
        return self._get(None)

    def empty(self) -> bool:
        """Whether no item waits; `OSError` if this handle was closed."""
        if self._closed:
            raise OSError(f"Queue {self!r} is closed")
        return super().empty()

    def close(self) -> None:
        """Says that this handle is not used any more."""
        self._closed = True
