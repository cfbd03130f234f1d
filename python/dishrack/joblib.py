"""A backend for joblib, whose tasks survive the death of a worker.

    import dishrack.joblib
    from joblib import parallel_config

    with parallel_config("dishrack", n_jobs=4):
        GridSearchCV(model, grid).fit(X, y)

A batch of tasks whose worker is killed is run again by another one, up to ``max_attempts`` times in all,
and nothing else notices. Tasks and their results travel as they do with loky: by cloudpickle, so that the
program needs no ``__main__`` guard, and large arrays as files in memory that all workers map. The workers
stay for the next call.

This is joblib's side alone: the workers are those of a `dishrack.ProcessPoolExecutor`.
"""

from __future__ import annotations

import os
import pickle
import threading
import weakref
from typing import Any, Callable, Dict, Optional, Tuple

from joblib import cpu_count, register_parallel_backend
from joblib._memmapping_reducer import TemporaryResourcesManager, get_memmapping_reducers
from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)
from joblib.externals.loky.backend.reduction import dumps

from ._worker import begin_apart
from .context import get_context
from .executor import Future, ProcessPoolExecutor

__all__ = ["DishrackBackend"]

#: Seconds after which workers that nobody uses are ended.
IDLE_SECONDS = 300.0


def _run(task: bytes) -> bytes:
    """Runs a batch of tasks in a worker."""
    result = pickle.loads(task)()
    # An array that is a view of a file of the caller's is copied.
    _, reducers = get_memmapping_reducers()
    return bytes(dumps(result, reducers=reducers))


class _Shared:
    """An executor, and how many calls of joblib use it now."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self.executor = executor
        self.users = 0
        self.timer: Optional[threading.Timer] = None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _Executors:
    """The executors of this process, by what was asked for: calls that want the same share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Dict[Any, _Shared] = {}
        self._pid = os.getpid()

    def take(self, wanted: Tuple[Any, ...]) -> ProcessPoolExecutor:
        with self._lock:
            if self._pid != os.getpid():
                # The executors of the process that this one was forked from.
                self._known, self._pid = {}, os.getpid()
            self._end_idle(but=wanted)
            shared = self._known.get(wanted)
            if shared is None:
                shared = self._known[wanted] = _Shared(_start(*wanted))
            shared.stop_timer()
            shared.users += 1
            return shared.executor

    def give_back(self, wanted: Tuple[Any, ...], idle_seconds: float) -> None:
        with self._lock:
            shared = self._known.get(wanted)
            if shared is None:
                return
            shared.users -= 1
            if shared.users == 0:
                shared.timer = threading.Timer(idle_seconds, self._end_late, (wanted, shared))
                shared.timer.daemon = True
                shared.timer.start()

    def _end_late(self, wanted: Tuple[Any, ...], shared: _Shared) -> None:
        with self._lock:
            if shared.users == 0 and self._known.get(wanted) is shared:
                self._end_idle()

    def _end_idle(self, but: Optional[Tuple[Any, ...]] = None) -> None:
        """Ends what nobody uses. The lock is held."""
        for wanted, shared in list(self._known.items()):
            if shared.users == 0 and wanted != but:
                del self._known[wanted]
                shared.stop_timer()
                shared.executor.shutdown(wait=False)


_executors = _Executors()


def _start(
    workers: int, environment: Tuple[Any, ...], initializer: bytes, options: Tuple[Any, ...]
) -> Any:
    options = dict(options)
    context = get_context(options.pop("start_method"))
    # What a task needs of the main module comes with the task.
    return ProcessPoolExecutor(
        workers,
        mp_context=context.without_main(),
        initializer=begin_apart,
        initargs=(dict(environment), initializer),
        **options,
    )


class DishrackBackend(AutoBatchingMixin, ParallelBackendBase):
    """joblib's view of a `dishrack.ProcessPoolExecutor`.

    What `parallel_config` or `Parallel` may be given by keyword: ``max_attempts``, how often a batch of
    tasks is tried whose worker dies; ``task_timeout``, the seconds that a batch may take each time;
    ``max_memory``, the bytes from which on a worker is replaced after its batch; ``start_method``;
    ``initializer`` and ``initargs``, a function that each worker calls first; and
    ``idle_worker_timeout``, the seconds after which workers that nobody uses are ended.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    _OPTIONS = {
        "max_attempts": None,
        "task_timeout": None,
        "max_memory": None,
        "start_method": None,
        "initializer": None,
        "initargs": (),
        "idle_worker_timeout": IDLE_SECONDS,
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        unknown = set(self.backend_kwargs) - set(self._OPTIONS)
        if unknown:
            raise TypeError(
                f"the backend takes {', '.join(self._OPTIONS)}, and not {', '.join(unknown)}"
            )
        self._workers: Optional[ProcessPoolExecutor] = None
        self._begun: weakref.WeakSet[Future] = weakref.WeakSet()
        self._folder: Optional[TemporaryResourcesManager] = None

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        **options: Any,
    ) -> int:
        """Finds or starts the workers. Returns their number."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        chosen = {**self._OPTIONS, **self.backend_kwargs, **options}
        wanted = {name: chosen[name] for name in self._OPTIONS}
        wanted["timeout"] = wanted.pop("task_timeout")
        self._idle_seconds = wanted.pop("idle_worker_timeout") or IDLE_SECONDS
        environment = self._prepare_worker_env(n_jobs=n_jobs)
        initializer = bytes(dumps((wanted.pop("initializer"), wanted.pop("initargs"))))
        self._wanted = (n_jobs, tuple(environment.items()), initializer, tuple(wanted.items()))
        self._temp_folder = options.get("temp_folder")
        memmapping = ("max_nbytes", "mmap_mode", "verbose")
        self._reducers, _ = get_memmapping_reducers(
            temp_folder_resolver=self._folder_of_arrays,
            # Workers may die, and then nobody could say that they do not need a file any more.
            unlink_on_gc_collect=False,
            **{name: options[name] for name in memmapping if name in options},
        )
        self.parallel = parallel
        self._workers = _executors.take(self._wanted)
        return n_jobs

    def _folder_of_arrays(self) -> str:
        if self._folder is None:
            self._folder = TemporaryResourcesManager(self._temp_folder)
        return self._folder.resolve_temp_folder_name()

    def effective_n_jobs(self, n_jobs: Optional[int]) -> int:
        """The number of workers that ``n_jobs`` stands for: -1 is all processors, -2 all but one."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return max(cpu_count() + 1 + n_jobs, 1) if n_jobs < 0 else n_jobs

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Future:
        """Lets a worker run a batch of tasks."""
        assert self._workers is not None
        try:
            task = bytes(dumps(func, reducers=self._reducers))
        except Exception as error:
            raise pickle.PicklingError("cannot pickle the task to send to the workers") from error
        future = self._workers.submit(_run, task)
        self._begun.add(future)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    # As it was called until joblib 1.5.
    apply_async = submit

    def retrieve_result_callback(self, future: Future) -> Any:
        """Returns the results of a batch, or raises what went wrong."""
        return pickle.loads(future.result())

    def terminate(self) -> None:
        """Ends a call. The workers stay for the next one."""
        if self._workers is not None:
            self._workers = None
            _executors.give_back(self._wanted, self._idle_seconds)
        if self._folder is not None:
            self._folder._clean_temporary_resources()
            self._folder = None
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancels the batches of this call, also those that run, because one of them has failed."""
        for future in list(self._begun):
            future.kill()


register_parallel_backend("dishrack", DishrackBackend)
