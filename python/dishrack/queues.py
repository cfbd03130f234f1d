"""The queues of ``multiprocessing``, by their names and signatures, on queues that lose nothing.

An item is handed out and stays known until it is acknowledged: by ``task_done`` on a
`JoinableQueue`, by the next ``get`` on a `Queue` or a `SimpleQueue`. What a process held when it died
goes to another consumer.
"""

from __future__ import annotations

from . import _native
from .reduction import place_of, queue_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any, List, Optional, Tuple, Union

    from .events import Events
    from .letters import DeadLetter

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]


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

    def _is_closed(self) -> ValueError:
        return ValueError(f"Queue {self!r} is closed")

    def empty(self) -> bool:
        """Whether no item waits."""
        return self._native.qsize() == 0


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
        if self._closed:
            raise self._is_closed()
        self._native.put(obj, timeout if block else 0.0)
        self._is_used = True

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        """Takes the next item; waits for one if there is none.

        Raises `dishrack.Empty` (a `queue.Empty`) when there is none in ``timeout`` seconds, or at once
        if not ``block``.
        """
        if self._closed:
            raise self._is_closed()
        return self._native.get(timeout if block else 0.0)

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
        from .events import Events

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
        from .letters import letters_of

        return letters_of(self._native, take)


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
            from .errors import name_holders

            name_holders(error, self._native.holders())
            raise


class SimpleQueue(_Base):
    """A queue with fewer methods: ``multiprocessing.SimpleQueue``."""

    def __init__(self, *, ctx: Any = None) -> None:
        self._maxsize = 0
        self._native = _native.Queue(0, False)

    def put(self, obj: Any) -> None:
        """Puts an item on the queue."""
        if self._closed:
            raise self._is_closed()
        self._native.put(obj, None)

    def get(self) -> Any:
        """Takes the next item; waits for one if there is none."""
        if self._closed:
            raise self._is_closed()
        return self._native.get(None)

    def empty(self) -> bool:
        """Whether no item waits; `OSError` if this handle was closed."""
        if self._closed:
            raise OSError(f"Queue {self!r} is closed")
        return super().empty()

    def close(self) -> None:
        """Says that this handle is not used any more."""
        self._closed = True
