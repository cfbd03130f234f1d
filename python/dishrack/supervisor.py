"""Processes that run one function each, and are started again when they die."""

from __future__ import annotations

from multiprocessing import process as _process
from typing import Any, Callable, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from . import _native
from ._calls import cpus
from .context import get_context
from .errors import Closed

__all__ = ["Supervisor", "SupervisorStatus", "WorkerStatus"]


class WorkerStatus(NamedTuple):
    """One worker of a `Supervisor`."""

    name: str
    #: Its process; 0 if it has none just now.
    pid: int
    #: ``"starting"``, ``"idle"``, ``"busy"`` or ``"stopping"``.
    state: str
    #: The number of the item that it has, and the seconds that it has been in this state.
    item: Optional[int]
    seconds: Optional[float]
    #: How often it was started again, and why the last process in its place died.
    restarts: int
    last_death: Optional[str]


class SupervisorStatus(NamedTuple):
    """What can be seen of a `Supervisor`."""

    #: ``"running"``, ``"draining"``, ``"stopping"`` or ``"over"``.
    state: str
    #: The number of workers that it should have.
    wanted: int
    #: How often workers were started again, all together.
    restarts: int
    workers: List[WorkerStatus]


class _Supervised:
    """A function that is run until its queue says that this process is to end."""

    def __init__(self, target: Callable[..., object]) -> None:
        self._target = target

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        current = _process.current_process()
        with open("/proc/self/comm") as comm:
            current.name = comm.read().strip()
        try:
            self._target(*args, **kwargs)
        except Closed:
            # It was in a `get` or a `put` when its supervisor stopped it.
            pass


class Supervisor:
    """Processes that run ``target(*args, **kwargs)``, and are started again when they die.

    It is what a list of `Process` objects is, with somebody who looks after them. What a dead worker
    held goes to another one. As a context manager it stops its workers at the end: a worker that waits
    for an item ends there, and one that has an item finishes it within ``grace`` seconds.

    >>> import time
    >>> import dishrack as mp
    >>> with mp.Supervisor(time.sleep, (60,), workers=1, grace=0) as supervisor:
    ...     supervisor.scale(2)
    ...     supervisor.status().wanted
    2
    """

    def __init__(
        self,
        target: Callable[..., object],
        args: Iterable[Any] = (),
        kwargs: Optional[Mapping[str, Any]] = None,
        *,
        workers: Optional[int] = None,
        name: Optional[str] = None,
        restart: str = "transient",
        intensity: Tuple[int, float] = (10, 10.0),
        grace: float = 8.0,
        context: Any = None,
    ) -> None:
        """Starts ``workers`` processes, as many as there are processors if it is not said.

        ``name`` is what `ps` shows, and a number follows; that of the function if it is not said.
        ``restart`` says after which ends a worker is started again: ``"permanent"`` after any,
        ``"transient"`` after all but a return of the function, ``"temporary"`` after none. A worker
        that is started again more often than ``intensity`` says, so many times in so many seconds, is
        given up; the death of one that had an item does not count.
        """
        workers = cpus() if workers is None else workers
        if workers < 1:
            raise ValueError("workers must be at least 1")
        if not callable(target):
            raise TypeError("target must be a callable")
        name = name or getattr(target, "__name__", None) or "worker"
        self._group = self._start(
            context or get_context(),
            workers,
            name,
            (_Supervised(target), tuple(args), dict(kwargs or {})),
            restart=restart,
            intensity=intensity,
            grace=grace,
        )

    @staticmethod
    def _start(
        ctx: Any, workers: int, name: str, call: Tuple[Any, ...], **options: Any
    ) -> _native.WorkerGroup:
        from .process import departing

        target, args, kwargs = call
        process = ctx.Process(target=target, args=args, kwargs=kwargs, name=name)
        given = departing(process, ctx.get_start_method())
        return _native.WorkerGroup(workers, name, *given, **options)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def status(self) -> SupervisorStatus:
        """What can be seen of it and of its workers, also of those that are not ready."""
        state, wanted, restarts, workers = self._group.status()
        told = [WorkerStatus(*worker) for worker in workers]
        return SupervisorStatus(state, wanted, restarts, told)

    def scale(self, workers: int, timeout: Optional[float] = None) -> None:
        """Has so many workers from now on. A worker that goes finishes what it has first.

        Returns when there are so many. Raises `dishrack.TimeoutError` if that is not within
        ``timeout`` seconds; it goes on all the same.
        """
        if workers < 0:
            raise ValueError("workers must be at least 0")
        self._group.scale(workers, timeout)

    def join(self, timeout: Optional[float] = None) -> bool:
        """Waits until all workers have ended for good. Returns ``False`` if the time is over first."""
        return self._group.wait(timeout)

    def stop(self) -> None:
        """Ends the workers in order, those that take too long by force, and waits for that.

        What they have not finished stays on its queue.
        """
        self._group.stop()

    def kill(self) -> None:
        """Kills the workers. What they held goes back to its queue."""
        self._group.kill()
