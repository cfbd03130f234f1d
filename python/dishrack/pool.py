"""``multiprocessing.Pool``, by its names and signatures, on workers that may die.

A call whose worker dies is made again by another one, and fails alone if that happens too often:
nothing hangs, and no other call is lost.
"""

from __future__ import annotations

import collections
import itertools
import threading
import warnings
from multiprocessing import util
from typing import Any, Callable, Iterable, List, Optional, Tuple, Union

from . import _calls, _native, errors
from .context import get_context
from .progress import Meter, Progress, Shown, meter_of

__all__ = ["AsyncResult", "MapResult", "Pool"]

RUN, CLOSE, TERMINATE = "RUN", "CLOSE", "TERMINATE"

#: Iterables of these types give their items at once.
_SIZED = (list, tuple, range, dict, set, frozenset, str, bytes, collections.deque)


class AsyncResult:
    """The result of a call that was not waited for: ``multiprocessing.pool.AsyncResult``."""

    def __init__(
        self,
        pool: Pool,
        callback: Optional[Callable[[Any], object]],
        error_callback: Optional[Callable[[BaseException], object]],
    ) -> None:
        # Workers are there as long as somebody may ask for what they do.
        self._pool: Optional[Pool] = pool
        self._event = threading.Event()
        self._callback = callback
        self._error_callback = error_callback
        self._number: Optional[int] = None

    def ready(self) -> bool:
        """Whether the call has ended."""
        return self._event.is_set()

    def successful(self) -> bool:
        """Whether it ended without an exception; `ValueError` if it has not ended."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._success

    def wait(self, timeout: Optional[float] = None) -> None:
        """Waits for the end of the call, at most so many seconds."""
        self._event.wait(timeout)

    def get(self, timeout: Optional[float] = None) -> Any:
        """Waits for the value, and raises what the call raised.

        `TimeoutError` if the time is over first.
        """
        self.wait(timeout)
        if not self.ready():
            raise errors.TimeoutError("the call has not ended within the time given")
        if self._success:
            return self._value
        raise self._value

    def cancel(self) -> bool:
        """Cancels the call, also while it runs: its worker is ended and replaced.

        Its result is `dishrack.Cancelled`. Returns ``False`` if it has ended.
        """
        pool = self._pool
        calls = None if pool is None else pool._calls
        return calls is not None and self._number is not None and calls.cancel(self._number)

    def _end(self, success: bool, value: Any) -> None:
        self._success, self._value = success, value
        try:
            if success and self._callback is not None:
                self._callback(value)
            if not success and self._error_callback is not None:
                self._error_callback(value)
        except BaseException as error:
            # It is none of the other calls' business.
            _calls.report(error)
        finally:
            self._event.set()
            self._callback = self._error_callback = self._pool = None

    _set = _end


class MapResult(AsyncResult):
    """The results of many calls that were not waited for."""

    def __init__(self, pool: Pool, length: int, chunksize: int, *callbacks: Any) -> None:
        super().__init__(pool, *callbacks)
        self._success: bool = True
        self._value: Any = [None] * length
        self._chunksize = chunksize
        self._meter: Optional[Meter] = None
        self._lock = threading.Lock()
        self._error: Optional[BaseException] = None
        self._left = -(-length // chunksize) if length else 0
        self._numbers: List[int] = []
        if not length:
            self._end(True, self._value)

    def cancel(self) -> bool:
        """Cancels all calls that have not ended, also those that run."""
        calls = None if self._pool is None else self._pool._calls
        if calls is None:
            return False
        return sum([calls.cancel(number) for number in self._numbers]) > 0

    def _set_chunk(self, index: int, success: bool, value: Any) -> None:
        first = index * self._chunksize
        self._count(min(self._chunksize, len(self._value) - first))
        # Chunks that cannot be pickled end where they are submitted, and others elsewhere.
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
            if success and self._success:
                self._value[first : first + self._chunksize] = value
            elif not success and self._success:
                # The first of all exceptions is told, when all have ended.
                self._success, self._error = False, value
        if is_last:
            self._end(self._success, self._value if self._success else self._error)

    def _count(self, results: int) -> None:
        try:
            if self._meter is not None:
                self._meter.add(results)
        except BaseException as error:
            # It is none of the calls' business.
            _calls.report(error)


class _Chunk:
    """Some of the calls of a `MapResult`."""

    __slots__ = ("_index", "_result")

    def __init__(self, result: MapResult, index: int) -> None:
        self._result, self._index = result, index

    def _set(self, success: bool, value: Any) -> None:
        self._result._set_chunk(self._index, success, value)


def _dispatch(calls: _native.CallPool) -> None:
    """Gives ends to those who wait for them, until there are no more."""
    while True:
        try:
            ends = calls.ends(None)
        except errors.Error:
            return
        for tag, success, value in ends or ():
            tag._set(success, value)
        # Nothing is kept alive until the next ones come.
        ends = tag = value = None


class Pool:
    """Workers that make calls: ``multiprocessing.Pool``.

    In addition to its arguments there are, for each call: ``timeout``, the seconds that it may take;
    ``max_attempts``, how often it is tried if its worker dies or the time is over; and ``backoff``, a
    pair of seconds, how long it rests at first and at most before that. A worker with more than
    ``max_memory`` bytes is replaced after its call.

    >>> import dishrack as mp
    >>> with mp.Pool(2) as pool:
    ...     pool.map(abs, [-1, 2, -3])
    [1, 2, 3]
    """

    def __init__(
        self,
        processes: Optional[int] = None,
        initializer: Optional[Callable[..., object]] = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: Optional[int] = None,
        context: Any = None,
        *,
        timeout: Optional[float] = None,
        max_attempts: Optional[int] = None,
        backoff: Optional[Tuple[float, float]] = None,
        max_memory: Optional[int] = None,
    ) -> None:
        # First of all, because __del__ looks at it.
        self._state: Optional[str] = None
        if processes is None:
            processes = _calls.cpus()
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (
            not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0
        ):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._ctx = context or get_context()
        self._calls: Optional[_native.CallPool] = start(
            self._ctx,
            "PoolWorker",
            processes,
            "pool",
            initializer,
            tuple(initargs),
            max_attempts=max_attempts,
            backoff=backoff,
            timeout=timeout,
            max_memory=max_memory,
            max_tasks=maxtasksperchild,
        )
        self._targets = _calls.Targets()
        self._feeders: List[_Feeder] = []
        self._dispatcher = threading.Thread(
            target=_dispatch, args=(self._calls,), name="dishrack pool", daemon=True
        )
        self._dispatcher.start()
        self._terminate = util.Finalize(
            self, _terminate, args=(self._calls, self._feeders), exitpriority=15
        )
        self._state = RUN

    def __del__(self) -> None:
        if self._state == RUN:
            words = f"unclosed running multiprocessing pool {self!r}"
            warnings.warn(words, ResourceWarning, source=self)

    def __repr__(self) -> str:
        cls = type(self)
        name = f"{cls.__module__}.{cls.__qualname__}"
        return f"<{name} state={self._state} pool_size={self._processes}>"

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate()

    @property
    def _pool(self) -> List[_calls.Worker]:
        calls = self._calls
        return [] if calls is None else [_calls.Worker(calls, pid) for pid in calls.pids()]

    def _repopulate_pool(self) -> None:
        """Does nothing: a worker that ends is replaced at once."""

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")

    def _submit(self, result: Any, func: Any, shape: str, arguments: Any) -> Optional[int]:
        """Submits a call. That it cannot be pickled is its result."""
        try:
            return self._calls.submit(self._targets.get(func, shape), arguments, result)
        except Exception as error:
            result._set(False, error)
            return None

    def apply(
        self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Any = {}  # noqa: B006
    ) -> Any:
        """Calls ``func(*args, **kwds)`` in a worker, and returns its value."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Any = {},  # noqa: B006
        callback: Optional[Callable[[Any], object]] = None,
        error_callback: Optional[Callable[[BaseException], object]] = None,
    ) -> AsyncResult:
        """Calls ``func(*args, **kwds)`` in a worker. The callbacks must return quickly."""
        self._check_running()
        result = AsyncResult(self, callback, error_callback)
        result._number = self._submit(result, func, "apply", (tuple(args), dict(kwds)))
        return result

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: Optional[int] = None,
        *,
        progress: Progress = False,
    ) -> List[Any]:
        """``list(map(func, iterable))``, by the workers: a chunk is one call.

        ``progress=True`` shows how far it is, by ``tqdm`` where that is installed; a function is called
        with the number of results so far and that of all.
        """
        return self._map_async(func, iterable, "each", chunksize, progress, None, None).get()

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: Optional[int] = None,
        callback: Optional[Callable[[List[Any]], object]] = None,
        error_callback: Optional[Callable[[BaseException], object]] = None,
    ) -> MapResult:
        """`map` without the waiting."""
        return self._map_async(func, iterable, "each", chunksize, False, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: Optional[int] = None,
        *,
        progress: Progress = False,
    ) -> List[Any]:
        """`map` for iterables of arguments: ``func(1, 2)`` for ``(1, 2)``."""
        return self._map_async(func, iterable, "each_star", chunksize, progress, None, None).get()

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: Optional[int] = None,
        callback: Optional[Callable[[List[Any]], object]] = None,
        error_callback: Optional[Callable[[BaseException], object]] = None,
    ) -> MapResult:
        """`starmap` without the waiting."""
        return self._map_async(
            func, iterable, "each_star", chunksize, False, callback, error_callback
        )

    def _map_async(
        self,
        func: Any,
        iterable: Iterable[Any],
        shape: str,
        chunksize: Optional[int],
        progress: Progress,
        *callbacks: Any,
    ) -> MapResult:
        self._check_running()
        if not hasattr(iterable, "__len__"):
            iterable = list(iterable)
        length = len(iterable)  # type: ignore[arg-type]
        if chunksize is None:
            chunksize = -(-length // (self._processes * 4)) or 1
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        items = iter(iterable)
        result = MapResult(self, length, chunksize, *callbacks)
        result._meter = meter_of(progress, iterable, func) if length else None
        for index in range(-(-length // chunksize)):
            chunk = list(itertools.islice(items, chunksize))
            number = self._submit(_Chunk(result, index), func, shape, chunk)
            if number is not None:
                result._numbers.append(number)
        return result

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        progress: Progress = False,
    ) -> Union[_native.Results, Shown]:
        """An iterator over ``map(func, iterable)``, whose ``next`` takes a timeout.

        ``progress`` is that of `map`, and moves as results are read.
        """
        return self._imap(func, iterable, chunksize, True, progress)

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        progress: Progress = False,
    ) -> Union[_native.Results, Shown]:
        """`imap` in the order in which the calls end."""
        return self._imap(func, iterable, chunksize, False, progress)

    def _imap(
        self,
        func: Any,
        iterable: Iterable[Any],
        chunksize: int,
        ordered: bool,
        progress: Progress,
    ) -> Union[_native.Results, Shown]:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        target = self._targets.get(func, "one" if chunksize == 1 else "each")
        results = self._calls.results(target, chunksize, ordered)
        if type(iterable) in _SIZED:
            results.feed(iterable)
        else:
            self._feeders[:] = [one for one in self._feeders if one.is_alive()]
            feeder = _Feeder(results, iterable)
            self._feeders.append(feeder)
            feeder.start()
        meter = meter_of(progress, iterable, func)
        return results if meter is None else Shown(results, meter)

    def close(self) -> None:
        """Takes no more calls. The workers end when they have made those that there are."""
        if self._state == RUN:
            self._state = CLOSE
            # Somebody may have put it away without `join`.
            threading.Thread(
                target=_finish,
                args=(self._calls, self._feeders),
                name="dishrack closing pool",
                daemon=True,
            ).start()

    def terminate(self) -> None:
        """Kills the workers. The calls that are left end with an error."""
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Waits for the workers to end, after `close` or `terminate`."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state == CLOSE and self._calls is not None:
            _finish(self._calls, self._feeders)
        self._dispatcher.join()
        # Their files are closed when nobody has them any more.
        self._terminate.cancel()
        self._calls = None


def start(
    ctx: Any,
    name: str,
    workers: int,
    kind: str,
    initializer: Optional[Callable[..., object]],
    initargs: Tuple[Any, ...],
    **options: Any,
) -> _native.CallPool:
    """Starts workers that make calls."""
    from .process import Departure, program_of_workers

    _native.prepare()
    util._flush_std_streams()
    with Departure() as departure:
        data, queues = _calls.context_of(ctx, name, kind, initializer, initargs)
    method = ctx.get_start_method()
    return _native.CallPool(
        workers,
        name,
        (program_of_workers(method), method),
        data,
        queues,
        departure.files,
        **options,
    )


class _Feeder(threading.Thread):
    """Makes calls of what an iterable gives, while others read their results."""

    def __init__(self, results: _native.Results, iterable: Iterable[Any]) -> None:
        super().__init__(name="dishrack feeder", daemon=True)
        self._results: Optional[_native.Results] = results
        self._iterable: Optional[Iterable[Any]] = iterable

    def run(self) -> None:
        results, iterable = self._results, self._iterable
        if results is None or iterable is None:
            return
        try:
            results.feed(iterable)
        except BaseException as error:
            results.end_with(error)
        finally:
            self._results = self._iterable = None

    def end(self) -> None:
        """Lets it end before its iterable does."""
        results = self._results
        if results is not None:
            results.end_with(errors.NoWorkersLeft("the pool was terminated"))


def _finish(calls: _native.CallPool, feeders: List[_Feeder]) -> None:
    """Waits until all calls have been made, and ends the workers."""
    for feeder in feeders:
        feeder.join()
    calls.join(None)
    calls.close()
    calls.drain()


def _terminate(calls: _native.CallPool, feeders: List[_Feeder]) -> None:
    for feeder in feeders:
        feeder.end()
    calls.close()
    calls.kill()
