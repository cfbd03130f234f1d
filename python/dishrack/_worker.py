"""Being a worker process: from a fresh interpreter to the function that it runs, and to its end.

The native half takes the supervisor's order and calls back; see `main`.
"""

from __future__ import annotations

import atexit
import importlib
import os
import pickle
import sys
from multiprocessing import process as _process
from multiprocessing import resource_tracker, spawn, util

from . import _native
from .reduction import dumps, has_importable_main, loads, tell_of_main

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Mapping, Sequence

__all__ = ["main", "main_of_server", "run_process"]


def main() -> None:
    """Serves. In a process that was started to be a worker, this never returns."""
    _serve(lambda: None)


#: The modules of this package that a process may need.
_MODULES = ("_calls", "context", "errors", "queues")


def main_of_server(preloaded: Sequence[str], main_module: Mapping[str, str]) -> None:
    """Serves as a fork server, which imports these modules first; its children have them.

    One that is not there is passed over, as by the fork server of ``multiprocessing``.
    """

    def preload() -> None:
        for name in _MODULES:
            importlib.import_module(f"{__package__}.{name}")
        current = _process.current_process()
        current._inheriting = True
        try:
            # What is not named is left alone.
            spawn.prepare(dict(main_module))
        finally:
            del current._inheriting
        for name in preloaded:
            try:
                importlib.import_module(name)
            except ImportError:
                pass

    _serve(preload)


def _serve(preload: Callable[[], None]) -> None:
    _native.serve(preload)
    sys.exit("dishrack: this is a worker's program: it is started by a supervisor, not by hand")


def prepare(data: bytes) -> None:
    """Gives this process what its parent has: paths, arguments, and the main module by another name.

    A process that is started meanwhile, by a main module without its guard, is an error.
    """
    spawn.prepare(pickle.loads(data))


def share_resource_tracker(descriptor: int) -> None:
    """Lets this process tell the resource tracker of its parent, as a spawned process of the standard
    library does: one of its own would take away what others still use."""
    path = f"/proc/{os.getppid()}/fd/{descriptor}"
    resource_tracker._resource_tracker._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)


def enclose(name: str, data: bytes, imports_main: bool = True) -> bytes:
    """What a worker of this name is given before the object whose pickle this is; `load` takes it apart."""
    from . import context

    preparation = spawn.get_preparation_data(name)
    imports_main = imports_main and has_importable_main()
    if not imports_main:
        preparation.pop("init_main_from_name", None)
        preparation.pop("init_main_from_path", None)
    method = context.get_start_method(allow_none=True)
    told = resource_tracker.getfd(), imports_main, dumps(preparation)[0], method, data
    return dumps(told)[0]


def load(pickled: bytes, queues: Sequence[_native.Queue]) -> Any:
    """Prepares this process as its parent has `enclose`d it. Returns the object."""
    from . import context

    tracker, imports_main, preparation, method, data = pickle.loads(pickled)
    share_resource_tracker(tracker)
    tell_of_main(imports_main)
    context.set_start_method(method, force=True)
    current = _process.current_process()
    current._inheriting = True
    try:
        prepare(preparation)
        return loads(data, queues)
    finally:
        del current._inheriting


def begin_apart(environment: Dict[str, str], pickled: bytes) -> None:
    """The initializer of workers that have another environment than their parent, which must be there
    before anything is imported that reads it: what the pickled initializer needs, for example."""
    os.environ.update(environment)
    initializer, initargs = pickle.loads(pickled)
    if initializer is not None:
        initializer(*initargs)


def run_process(pickled: bytes, queues: Sequence[_native.Queue]) -> None:
    """Runs a `Process`. Returns if it has ended in order, and ends this process otherwise."""
    try:
        process = load(pickled, queues)
        code = process._bootstrap(parent_sentinel=os.pidfd_open(os.getppid()))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    atexit._run_exitfuncs()
    util._flush_std_streams()
    if code != 0:
        # What it held is charged with this end.
        os._exit(code)
    for queue in queues:
        queue.release()
