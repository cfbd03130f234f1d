"""What happens to the items of a queue and to its workers, as ``Queue.events`` tells it.

Each kind of event is a class; times are seconds, and ``at`` counts from the making of the queue.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Dict, Iterator, Optional, Tuple, Type

from . import _native

__all__ = [
    "Event",
    "EventsMissed",
    "Events",
    "ItemDead",
    "ItemDone",
    "ItemRetried",
    "ItemStarted",
    "JournalFailed",
    "MemoryLimit",
    "NoWorkersLeft",
    "Notice",
    "OtherEvent",
    "Paused",
    "Resumed",
    "Scaled",
    "Started",
    "Summary",
    "TimeLimit",
    "WorkerExited",
    "WorkerFailed",
    "WorkerFailedToStart",
    "WorkerGivenUp",
    "WorkerReplaced",
    "WorkerStarted",
]


@dataclass(frozen=True)
class Event:
    """Something that has happened."""

    #: When it became known, in seconds since the queue was made.
    at: float


@dataclass(frozen=True)
class ItemStarted(Event):
    """A process got an item, or began a call."""

    item: str
    number: int
    worker: str
    pid: int
    attempt: int


@dataclass(frozen=True)
class ItemDone(Event):
    """An item was acknowledged."""

    item: str
    number: int
    worker: str
    pid: int
    attempt: int
    #: How long the process had it, in seconds.
    duration: float


@dataclass(frozen=True)
class ItemRetried(Event):
    """An attempt failed, and another one follows."""

    item: str
    number: int
    #: The number of the attempt that failed, and why it did.
    attempt: int
    cause: str


@dataclass(frozen=True)
class ItemDead(Event):
    """An item was given up on: it is a dead letter."""

    item: str
    number: int
    #: How many attempts failed, and why the last one did.
    attempts: int
    cause: str


@dataclass(frozen=True)
class Started(Event):
    """Workers are being started."""

    pid: int
    mode: str
    workers: int


@dataclass(frozen=True)
class WorkerStarted(Event):
    """A process is ready."""

    worker: str
    pid: int


@dataclass(frozen=True)
class WorkerExited(Event):
    """A process has ended."""

    worker: str
    pid: int
    #: The name of the item that it had, if it had one.
    holding: Optional[str]
    #: Its exit code, or the name of the signal that ended it.
    code: Optional[int] = None
    signal: Optional[str] = None


@dataclass(frozen=True)
class WorkerFailedToStart(Event):
    """A process could not be started, or ended before it was ready."""

    worker: str
    pid: Optional[int]
    why: str


@dataclass(frozen=True)
class WorkerFailed(Event):
    """A process was ended, because it could not be understood or reached any more."""

    worker: str
    why: str


@dataclass(frozen=True)
class WorkerGivenUp(Event):
    """A worker is not started again: it has failed too often."""

    worker: str
    why: str


@dataclass(frozen=True)
class WorkerReplaced(Event):
    """Another process takes the place of one."""

    worker: str
    pid: int
    why: str


@dataclass(frozen=True)
class TimeLimit(Event):
    """An item takes longer than its ``timeout``, and its process is ended."""

    item: str
    worker: str
    pid: int


@dataclass(frozen=True)
class MemoryLimit(Event):
    """An item has more memory than its ``max_memory``, and its process is killed."""

    item: str
    worker: str
    pid: int
    bytes: int


@dataclass(frozen=True)
class NoWorkersLeft(Event):
    """Nothing more will be done: all workers have ended for good."""

    why: str


@dataclass(frozen=True)
class Scaled(Event):
    """There are as many workers now as were asked for."""

    workers: int


@dataclass(frozen=True)
class Paused(Event):
    """Nothing more is handed out."""


@dataclass(frozen=True)
class Resumed(Event):
    """Items are handed out again."""


@dataclass(frozen=True)
class JournalFailed(Event):
    """The journal failed: nothing more is accepted."""

    why: str


@dataclass(frozen=True)
class Notice(Event):
    """News of the journal, of Redis or of the machine. The work goes on."""

    why: str


@dataclass(frozen=True)
class Summary(Event):
    """The workers have ended; these are the final counts."""

    accepted: int
    done: int
    dead: int
    retries: int
    restarts: int
    elapsed: float


@dataclass(frozen=True)
class EventsMissed(Event):
    """There was no room for so many events, because they were not read for too long."""

    count: int


@dataclass(frozen=True)
class OtherEvent(Event):
    """An event without a class of its own: its kind, and its fields by their names."""

    kind: str
    values: Dict[str, Any]


_CLASSES: Dict[str, Type[Event]] = {
    "running": ItemStarted,
    "done": ItemDone,
    "retry": ItemRetried,
    "dead": ItemDead,
    "started": Started,
    "worker_started": WorkerStarted,
    "worker_exited": WorkerExited,
    "worker_failed_to_start": WorkerFailedToStart,
    "worker_failed": WorkerFailed,
    "worker_given_up": WorkerGivenUp,
    "worker_replaced": WorkerReplaced,
    "time_limit": TimeLimit,
    "memory_limit": MemoryLimit,
    "no_workers_left": NoWorkersLeft,
    "scaled": Scaled,
    "paused": Paused,
    "resumed": Resumed,
    "journal_failed": JournalFailed,
    "notice": Notice,
    "summary": Summary,
}

_NAMES: Dict[Type[Event], Tuple[str, ...]] = {
    cls: tuple(field.name for field in fields(cls)) for cls in _CLASSES.values()
}


def _seconds(values: Dict[str, Any]) -> Dict[str, Any]:
    """The fields with their times in seconds."""
    told = {}
    for name, value in values.items():
        if name.endswith("_us"):
            name, value = name[: -len("_us")], None if value is None else value / 1e6
        told[name] = value
    return told


def event_of(text: str) -> Event:
    """The event that this JSON object describes."""
    values = _seconds(json.loads(text))
    kind, at = values.pop("event"), values.pop("t")
    cls = _CLASSES.get(kind)
    if cls is None:
        return OtherEvent(at, kind, values)
    return cls(at=at, **{name: value for name, value in values.items() if name in _NAMES[cls]})


class Events(Iterator[Event]):
    """The events of a queue, from now on, until it is closed: see `Queue.events`."""

    def __init__(self, native: _native.EventReader) -> None:
        self._native = native
        self._last = 0.0

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Event:
        event = self.next()
        assert event is not None
        return event

    def next(self, timeout: Optional[float] = None) -> Optional[Event]:
        """The next event; ``None`` if there is none within ``timeout`` seconds.

        Raises `StopIteration` when there will be no more.
        """
        text = self._native.next(timeout)
        if text is None:
            return None
        if not text:
            raise StopIteration
        event = event_of(text) if text[0] == "{" else EventsMissed(self._last, int(text))
        self._last = event.at
        return event

    def close(self) -> None:
        """Reads no more."""
        self._native.close()
