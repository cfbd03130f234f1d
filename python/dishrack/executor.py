"""``concurrent.futures.ProcessPoolExecutor``, by its names and signatures, on workers that may die.

A call whose worker dies is made again by another one, and its future alone fails if that happens too
often. The executor goes on.
"""

from __future__ import annotations

import collections
import concurrent.futures
import threading
import weakref
from concurrent.futures.process import BrokenProcessPool
from typing import Any, AsyncIterator, Callable, Deque, Dict, Iterable, Iterator, Optional, Tuple

from . import _calls, _native, errors
from .context import get_context
from .pool import start
from .process import is_ending_by_interrupt, is_interrupt
from .progress import Progress, Shown, meter_of

__all__ = ["Future", "ProcessPoolExecutor"]

#: The threads that give ends to futures, and the workers of each.
_dispatchers: weakref.WeakKeyDictionary[threading.Thread, _native.CallPool] = (
    weakref.WeakKeyDictionary()
)
_is_exiting = False


def _at_exit() -> None:
    """Waits for what was submitted, as the standard executor does; after Ctrl-C nobody wants it."""
    global _is_exiting
    _is_exiting = True
    for thread, calls in list(_dispatchers.items()):
        calls.close()
        if is_ending_by_interrupt():
            calls.kill()
        thread.join()


# Before threads are joined at the end of the program, or else it would wait for them first.
threading._register_atexit(_at_exit)


class Future(concurrent.futures.Future):
    """A real ``concurrent.futures.Future``, of a call that can be cancelled while it runs."""

    _calls: Optional[_native.CallPool] = None
    _number = 0

    def cancel(self) -> bool:
        """Cancels the call if no worker has been given it, as the standard one does."""
        calls = self._calls
        if calls is not None and not self.done() and not calls.withdraw(self._number):
            return self.cancelled()
        return super().cancel()

    def kill(self) -> bool:
        """Cancels the call even while it runs: its worker is ended and replaced.

        The future is cancelled then. Returns ``False`` if it is done.
        """
        calls = self._calls
        if calls is None or self.done():
            return False
        return calls.cancel(self._number)

    def _end_cancelled(self) -> None:
        """Ends it, because its call was cancelled."""
        if super().cancel():
            self.set_running_or_notify_cancel()

    def running(self) -> bool:
        """Whether a worker has the call."""
        calls = self._calls
        if calls is None or self.done():
            return super().running()
        return calls.is_begun(self._number)


class _State:
    """What an executor and the thread that serves its futures know of each other."""

    broken: Optional[BaseException] = None


def _dispatch(calls: _native.CallPool, state: _State) -> None:
    """Gives ends to futures, until there are no more, and ends the workers."""
    while True:
        try:
            ends = calls.ends(None)
        except errors.Closed:
            break
        except errors.Error as error:
            # Its traceback has this frame, which has the calls: nothing but a collection would close them.
            state.broken = error.with_traceback(None)
            break
        for future, success, value in ends or ():
            # One that is kept must not keep the workers' files open.
            future._calls = None
            try:
                if success:
                    future.set_result(value)
                elif isinstance(value, errors.Cancelled):
                    future._end_cancelled()
                else:
                    if isinstance(value, errors.InitializerFailed):
                        state.broken = value
                    future.set_exception(value)
            except concurrent.futures.InvalidStateError:
                # Somebody has given it another end.
                pass
        # Nothing is kept alive until the next ones come.
        ends = future = value = None
    if state.broken is None:
        calls.join(None)
        calls.drain()
    else:
        calls.kill()


class ProcessPoolExecutor(concurrent.futures.Executor):
    """Workers that make calls: ``concurrent.futures.ProcessPoolExecutor``.

    In addition to its arguments there are, for each call: ``timeout``, the seconds that it may take;
    ``max_attempts``, how often it is tried if its worker dies or the time is over; and ``backoff``, a
    pair of seconds, how long it rests at first and at most before that. A worker with more than
    ``max_memory`` bytes is replaced after its call.

    >>> from dishrack import ProcessPoolExecutor
    >>> with ProcessPoolExecutor(2) as executor:
    ...     executor.submit(pow, 2, 5).result()
    32
    """

    def __init__(
        self,
        max_workers: Optional[int] = None,
        mp_context: Any = None,
        initializer: Optional[Callable[..., object]] = None,
        initargs: Tuple[Any, ...] = (),
        *,
        max_tasks_per_child: Optional[int] = None,
        timeout: Optional[float] = None,
        max_attempts: Optional[int] = None,
        backoff: Optional[Tuple[float, float]] = None,
        max_memory: Optional[int] = None,
    ) -> None:
        if max_workers is None:
            max_workers = _calls.cpus()
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        self._max_workers = max_workers
        self._mp_context = mp_context or get_context()
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._options = {
            "max_tasks": max_tasks_per_child,
            "timeout": timeout,
            "max_attempts": max_attempts,
            "backoff": backoff,
            "max_memory": max_memory,
        }
        # An argument's own pickling may submit, too.
        self._lock = threading.RLock()
        self._calls: Optional[_native.CallPool] = None
        self._dispatcher: Optional[threading.Thread] = None
        self._is_shut_down = False
        self._state = _State()
        self._targets = _calls.Targets()
        self._maps: weakref.WeakSet[_native.Results] = weakref.WeakSet()

    def _opened(self) -> _native.CallPool:
        """The workers, which are started for the first call. The lock is held."""
        broken = self._state.broken
        if broken is not None:
            raise BrokenProcessPool(str(broken)) from broken
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _is_exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._calls is None:
            calls = start(
                self._mp_context,
                "ExecutorWorker",
                self._max_workers,
                "executor",
                self._initializer,
                self._initargs,
                **self._options,
            )
            thread = threading.Thread(
                target=_dispatch, args=(calls, self._state), name="dishrack executor", daemon=True
            )
            thread.start()
            _dispatchers[thread] = calls
            # An executor that nobody has any more ends when its calls have ended.
            self._finalizer = weakref.finalize(self, calls.close)
            self._finalizer.atexit = False
            self._calls, self._dispatcher = calls, thread
        return self._calls

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """Calls ``fn(*args, **kwargs)`` in a worker. Returns the future of its value."""
        future = Future()
        with self._lock:
            calls = self._opened()
            try:
                target = self._targets.get(fn, "apply")
                future._calls = calls
                future._number = calls.submit(target, (args, kwargs), future)
            except Exception as error:
                future._calls = None
                future.set_exception(error)
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: Optional[float] = None,
        chunksize: int = 1,
        buffersize: Optional[int] = None,
        progress: Progress = False,
    ) -> Iterator[Any]:
        """``map(fn, *iterables)``, by the workers: in order, a chunk is one call.

        The iterables are read at once, or, with ``buffersize``, only so many chunks ahead.
        ``progress=True`` shows how far it is as results are read, by ``tqdm`` where that is installed; a
        function is called with the number of results so far, and that of all if it is known.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        one, each = ("one", "each") if len(iterables) == 1 else ("star", "each_star")
        source = iter(iterables[0]) if len(iterables) == 1 else zip(*iterables)
        with self._lock:
            calls = self._opened()
        target = self._targets.get(fn, one if chunksize == 1 else each)
        results = calls.results(target, chunksize, True, strict=True, timeout=timeout)
        self._maps.add(results)
        if buffersize is None:
            results.feed(source)
        else:
            results.feed_as_read(source, buffersize)
        meter = meter_of(progress, iterables[0] if len(iterables) == 1 else None, fn)
        return results if meter is None else Shown(results, meter)

    async def async_map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], buffersize: Optional[int] = None
    ) -> AsyncIterator[Any]:
        """`map` for ``async for``: in order, while the event loop goes on.

        The iterables are read only ``buffersize`` calls ahead of the results that were taken: four for
        each worker, if it is not said. Calls that no worker has begun are cancelled when a call fails, or
        when nobody reads on.

        >>> import asyncio
        >>> from dishrack import ProcessPoolExecutor
        >>> async def main():
        ...     async with ProcessPoolExecutor(2) as executor:
        ...         return [value async for value in executor.async_map(abs, [-1, 2, -3])]
        >>> asyncio.run(main())
        [1, 2, 3]
        """
        import asyncio

        if buffersize is None:
            buffersize = 4 * self._max_workers
        if buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        begun: Deque[asyncio.Future[Any]] = collections.deque()
        try:
            for arguments in zip(*iterables):
                begun.append(asyncio.wrap_future(self.submit(fn, *arguments)))
                if len(begun) == buffersize:
                    yield await begun.popleft()
            while begun:
                yield await begun.popleft()
        finally:
            for future in begun:
                if not future.cancel() and not future.cancelled():
                    # It has ended, and nobody asks for its exception any more.
                    future.exception()

    async def __aenter__(self) -> ProcessPoolExecutor:
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        await asyncio.get_running_loop().run_in_executor(None, self.shutdown)

    def workers(self) -> Tuple[Tuple[str, int], ...]:
        """The workers that are ready, by their names and pids."""
        return tuple(self._calls.workers()) if self._calls is not None else ()

    @property
    def _processes(self) -> Optional[Dict[int, _calls.Worker]]:
        calls = self._calls
        if calls is None:
            return None if self._is_shut_down else {}
        return {pid: _calls.Worker(calls, pid) for pid in calls.pids()}

    @property
    def _executor_manager_thread(self) -> Optional[threading.Thread]:
        return self._dispatcher

    @property
    def _broken(self) -> Any:
        return str(self._state.broken) if self._state.broken is not None else False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls, and ends the workers when they have made those that there are."""
        with self._lock:
            self._is_shut_down = True
            calls, thread = self._calls, self._dispatcher
        if calls is None or thread is None:
            return
        if cancel_futures:
            calls.withdraw_all()
            for results in list(self._maps):
                results.withdraw_all()
        calls.close()
        if wait and thread is not threading.current_thread():
            thread.join()
            # Their files are closed when nobody has them any more.
            self._finalizer.detach()
            with self._lock:
                self._calls = self._dispatcher = None

    def __exit__(self, kind: Any, error: Optional[BaseException], _: Any) -> None:
        if is_interrupt(error):
            # A terminal would have interrupted the workers, too.
            self._force_shutdown()
        else:
            self.shutdown(wait=True)

    def _force_shutdown(self) -> None:
        with self._lock:
            self._is_shut_down = True
            calls = self._calls
        if calls is not None:
            calls.kill()
        self.shutdown(wait=False)

    def terminate_workers(self) -> None:
        """Kills the workers, and takes no more calls. The futures that are left have an exception."""
        self._force_shutdown()

    def kill_workers(self) -> None:
        """Does the same."""
        self._force_shutdown()
