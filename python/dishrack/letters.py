"""Dead letters: the items of a queue that were given up on, and what has happened to them."""

from __future__ import annotations

from typing import Any, List, NamedTuple

from . import _native

__all__ = ["DeadLetter", "Failure"]


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


def letters_of(queue: _native.Queue, take: bool) -> List[DeadLetter]:
    """The dead letters of a queue, oldest first. ``take``: they are gone there then."""
    return [
        DeadLetter(queue, number, pickled, [Failure(*failure) for failure in history])
        for number, pickled, history in queue.dead_letters(take)
    ]
