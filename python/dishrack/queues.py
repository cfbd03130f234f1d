"""The queues of ``multiprocessing``, by their names and signatures, on queues that lose nothing.

An item is handed out and stays known until it is acknowledged: by ``task_done`` on a
`JoinableQueue`, by the next ``get`` on a `Queue` or a `SimpleQueue`. What a process held when it died
goes to another consumer.
"""

from __future__ import annotations

import os
from typing import Any, List, NamedTuple, Optional, Tuple, Union

from . import _native
from .errors import TimeoutError
from .events import Events
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
    #: Whether this handle has opened a journal, or a queue on Redis.
    _has_store = False
    #: Whether something was put by this handle.
    _is_used = False

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
        timeout: Optional[float] = None,
        max_memory: Optional[int] = None,
        journal: Optional[Union[str, os.PathLike[str]]] = None,
        redis: Optional[Tuple[str, str]] = None,
    ) -> None:
        """Makes a queue in which at most ``maxsize`` items wait; 0 means no bound.

        An item is handed out ``max_attempts`` times, 3 if it is not said, before it is a dead letter.
        Between the attempts it rests for the first of the seconds in ``backoff``, then for twice as
        long each time, up to the second of them. A process that was started to work for this queue, and
        has an item for longer than ``timeout`` seconds, is ended, and the attempt has failed. So is one
        that has more than ``max_memory`` bytes while it has an item, with all that it has started.

        ``journal`` is a file in which the items survive this program, however it ends: opened again, the
        queue goes on. `put` returns when the item is on the disk; an acknowledgement is there a moment
        later, so an item that was done just before a kill may be handed out once more. One program uses
        it at a time, until `close`. ``redis`` is a pair of the address of a Redis,
        ``redis://[[user]:password@]host[:port][/db]``, and a name: all programs that open a queue of
        this name share it.

        Raises `dishrack.JournalError` or `dishrack.SharedQueueError` where that cannot be used.
        """
        self._maxsize = max(0, maxsize)
        self._has_store = journal is not None or redis is not None
        self._native = _native.Queue(
            self._maxsize,
            self._joinable,
            max_attempts=max_attempts,
            backoff=backoff,
            timeout=timeout,
            max_memory=max_memory,
            journal=journal,
            redis=redis,
        )

    def put(self, obj: Any, block: bool = True, timeout: Optional[float] = None) -> None:
        """Puts an item on the queue; waits for room if it is full.

        Raises `dishrack.Full` (a `queue.Full`) when there is none in ``timeout`` seconds, or at once
        if not ``block``; and what ``pickle`` raises for an object that cannot be pickled.
        """
        self._check_open()
        self._put(obj, _time_of(block, timeout))
        self._is_used = True

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

    def empty(self) -> bool:
        """Whether no item waits; `OSError` if this handle was closed after it had been put to."""
        if self._closed and self._is_used:
            raise OSError(f"Queue {self!r} is closed")
        return super().empty()

    def full(self) -> bool:
        """Whether a `put` would have to wait."""
        return self._native.full()

    def close(self) -> None:
        """Says that this handle is not used any more. Other handles of the queue are.

        Where it has opened a journal, or a queue on Redis, that is ended for all handles of this program:
        what is not done is there when it is opened again.
        """
        if not self._closed:
            self._closed = True
            self._native.end_events()
            if self._has_store:
                self._native.close_store()

    def join_thread(self) -> None:
        """Does nothing: there is no feeder thread to wait for."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Does nothing: what `put` has returned from is on the queue."""

    def events(self) -> Events:
        """Tells what happens from now on: an iterator over objects of the classes in `dishrack.events`.

        It ends when the queue is closed in this process. Whoever reads slowly holds nothing up: beyond
        100,000 events that wait, those that follow are counted in an `EventsMissed`. Processes tell of
        the items that they begin if this was called before they were started; of all else in any case.

        Raises `dishrack.SetupError` in another process than that which has made the queue.

        >>> import dishrack as mp
        >>> queue = mp.JoinableQueue()
        >>> events = queue.events()
        >>> queue.put("cup")
        >>> queue.get()
        'cup'
        >>> queue.task_done()
        >>> queue.close()
        >>> [type(event).__name__ for event in events]
        ['ItemStarted', 'ItemDone']
        """
        return Events(self._native.events())

    def dead_letters(self) -> List[DeadLetter]:
        """The items that were given up on, oldest first. They stay where they are.

        Raises `dishrack.SetupError` in another process than that which has made the queue.

        >>> import dishrack as mp
        >>> mp.Queue().dead_letters()
        []
        """
        return self._letters(False)

    def take_dead_letters(self) -> List[DeadLetter]:
        """Takes the items that were given up on, oldest first. They are in the queue no more.

        >>> import dishrack as mp
        >>> mp.JoinableQueue().take_dead_letters()
        []
        """
        return self._letters(True)

    def _letters(self, take: bool) -> List[DeadLetter]:
        return [
            DeadLetter(self._native, number, pickled, [Failure(*failure) for failure in history])
            for number, pickled, history in self._native.dead_letters(take)
        ]


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


class DeadLetter:
    """An item that was given up on, and what has happened to it."""

    def __init__(
        self,
        queue: _native.Queue,
        number: int,
        pickled: _native.Pickled,
        history: List[Failure],
    ) -> None:
        self._queue, self._pickled = queue, pickled
        #: The item's number.
        self.number = number
        #: Every failed attempt, oldest first.
        self.history = history

    def __repr__(self) -> str:
        return f"<DeadLetter item {self.number}, attempts={self.attempts}, causes={self.causes!r}>"

    @property
    def item(self) -> Any:
        """The item, unpickled anew each time."""
        return self._pickled.load()

    @property
    def attempts(self) -> int:
        """How often it was tried."""
        return max((failure.attempt for failure in self.history), default=0)

    @property
    def causes(self) -> List[str]:
        """Why each attempt failed, oldest first."""
        return [failure.cause for failure in self.history]

    @property
    def stderr(self) -> str:
        """The end of what the last process that had it wrote to stderr meanwhile."""
        return self.history[-1].stderr if self.history else ""

    def retry(self) -> bool:
        """Tries the item again, in its old place, with as many attempts before it as a new one.

        Returns ``False`` if it is no dead letter of its queue any more.
        """
        return self._queue.retry_dead_letter(self.number)

    def drop(self) -> bool:
        """Drops it for good. Returns ``False`` if it is no dead letter of its queue any more."""
        return self._queue.drop_dead_letter(self.number)


class SimpleQueue(_Base):
    """A queue with fewer methods: ``multiprocessing.SimpleQueue``."""

    def __init__(self, *, ctx: Any = None) -> None:
        self._maxsize = 0
        self._native = _native.Queue(0, False)

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
