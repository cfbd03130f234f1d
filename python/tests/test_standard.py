"""What comes from the standard library works with these processes."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from multiprocessing import shared_memory

import dishrack
import pytest
from conftest import PATIENCE


def use_all(lock, event, connection, value, results):
    with lock:
        value.value += 1
    event.set()
    connection.send((os.getpid(), dishrack.parent_process().pid))
    connection.close()
    memory = shared_memory.SharedMemory(create=True, size=16)
    memory.buf[:3] = b"cup"
    memory.close()
    results.put(memory.name)


def test_locks_events_pipes_values_and_shared_memory():
    lock, event, value = dishrack.Lock(), dishrack.Event(), dishrack.Value("i", 6)
    ours, theirs = dishrack.Pipe()
    results = dishrack.SimpleQueue()
    process = dishrack.Process(target=use_all, args=(lock, event, theirs, value, results))
    process.start()
    assert event.wait(PATIENCE)
    assert ours.recv() == (process.pid, os.getpid())
    name = results.get()
    process.join()
    assert (process.exitcode, value.value) == (0, 7)
    # It outlives the process that made it, as it does there.
    memory = shared_memory.SharedMemory(name)
    assert bytes(memory.buf[:3]) == b"cup"
    memory.close()
    memory.unlink()
    ours.close()
    theirs.close()


class Dryer(dishrack.Process):
    def __init__(self, results):
        super().__init__(name="dryer")
        self.results = results

    def run(self):
        atexit.register(self.results.put, "at exit")
        is_main = threading.current_thread() is threading.main_thread()
        self.results.put((dishrack.current_process().name, is_main))


def test_a_subclass_runs_its_own_run_and_functions_at_its_exit():
    results = dishrack.Queue()
    dryer = Dryer(results)
    dryer.start()
    assert results.get(timeout=PATIENCE) == ("dryer", True)
    assert results.get(timeout=PATIENCE) == "at exit"
    dryer.join()
    assert dryer.exitcode == 0


def test_without_the_interpreters_lock_it_says_so():
    # As in a free-threaded build that was told to do without.
    program = "import sys; sys._is_gil_enabled = lambda: False; import dishrack"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert "dishrack needs the interpreter's lock" in done.stderr.splitlines()[-1]


def test_a_worker_imports_no_more_than_it_needs():
    program = "import sys; from dishrack import _worker, context; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    heavy = {"asyncio", "concurrent.futures", "dataclasses", "json", "logging", "tempfile"}
    if sys.version_info >= (3, 10):
        # Before, `importlib` had it imported.
        heavy.add("typing")
    assert heavy & set(done.stdout.split()) == set()


def test_all_names_are_there():
    for name in dishrack.__all__:
        assert getattr(dishrack, name) is not None
    assert set(dishrack.__all__) <= set(dir(dishrack))
    assert dishrack.errors.Full is dishrack.Full
    with pytest.raises(AttributeError, match="has no attribute 'Dish'"):
        dishrack.Dish  # noqa: B018
