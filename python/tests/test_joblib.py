"""The backend of joblib: scikit-learn with workers that are killed meanwhile."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from calls import fail, sleep_and_return, square
from conftest import PATIENCE, until, workers_of

joblib = pytest.importorskip("joblib")

import dishrack.joblib  # noqa: E402
from dishrack.errors import BrokenProcessPool  # noqa: E402
from joblib.externals.loky.backend import resource_tracker  # noqa: E402

# It stays once it was used.
resource_tracker.ensure_running()

IDLE = 0.2


@pytest.fixture
def backend():
    """Workers that end soon after the test."""
    with joblib.parallel_config("dishrack", n_jobs=2, idle_worker_timeout=IDLE):
        yield


def squares(numbers, **options):
    return joblib.Parallel(**options)(joblib.delayed(square)(n) for n in numbers)


def test_calls_share_workers(backend):
    def pids():
        return set(joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(20)))

    assert squares(range(1000)) == [n * n for n in range(1000)]
    first = workers_of(os.getpid())
    assert pids() <= first and os.getpid() not in first
    assert squares(range(10)) == [n * n for n in range(10)]
    assert pids() <= first


def test_closures_and_generators(backend):
    factor = 3
    parallel = joblib.Parallel(return_as="generator")
    values = parallel(joblib.delayed(lambda n: n * factor)(n) for n in range(20))
    assert [next(values) for _ in range(3)] == [0, 3, 6]
    assert list(values) == [3 * n for n in range(3, 20)]


def test_an_exception_ends_the_call_and_not_the_workers(backend):
    assert squares(range(4)) == [0, 1, 4, 9]
    with pytest.raises(ValueError) as caught:
        joblib.Parallel()(joblib.delayed(fail)(n) for n in range(1000))
    assert "a comment that a traceback shows" in str(caught.value.__cause__)
    assert squares(range(4)) == [0, 1, 4, 9]


def test_a_failed_call_harms_no_other(backend):
    slow = threading.Thread(
        target=lambda: values.extend(
            joblib.Parallel(backend="dishrack", n_jobs=2, idle_worker_timeout=IDLE)(
                joblib.delayed(sleep_and_return)(0.2) for _ in range(6)
            )
        )
    )
    values = []
    slow.start()
    with pytest.raises(ValueError):
        joblib.Parallel()(joblib.delayed(fail)(n) for n in range(10))
    slow.join(PATIENCE)
    assert values == [0.2] * 6


def kill_for_the_first_time(n, folder):
    mark = folder / str(n)
    if n % 10 == 0 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_workers_that_are_killed_cost_nothing(backend, tmp_path):
    tasks = (joblib.delayed(kill_for_the_first_time)(n, tmp_path) for n in range(100))
    assert joblib.Parallel(max_attempts=20)(tasks) == list(range(100))
    assert len(list(tmp_path.iterdir())) == 10


def test_an_idle_worker_that_is_killed_costs_nothing(backend):
    assert squares(range(4)) == [0, 1, 4, 9]
    for pid in workers_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    assert squares(range(4)) == [0, 1, 4, 9]


def test_a_batch_that_kills_its_workers_is_the_error(backend):
    with pytest.raises(BrokenProcessPool, match="at each of 2 attempts"):
        joblib.Parallel(max_attempts=2)(
            joblib.delayed(os.kill)(0, signal.SIGKILL) if n == 3 else joblib.delayed(square)(n)
            for n in range(5)
        )


def test_a_batch_that_takes_too_long_is_ended(backend):
    with pytest.raises(dishrack.CallTimedOut):
        joblib.Parallel(task_timeout=0.3, max_attempts=1)(
            joblib.delayed(sleep_and_return)(100) for _ in range(2)
        )


def test_an_option_that_is_not_there_is_an_error():
    with pytest.raises(TypeError, match="max_attempts"):
        joblib.Parallel(n_jobs=2, backend=dishrack.joblib.DishrackBackend(attempts=2))


def test_calls_in_a_task(backend):
    def inner(n):
        return sum(squares(range(n), n_jobs=2, backend="dishrack"))

    tasks = (joblib.delayed(inner)(n) for n in (3, 4))
    assert joblib.Parallel()(tasks) == [5, 14]


def test_workers_have_few_threads_for_numbers(backend):
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    with joblib.parallel_config("dishrack", n_jobs=2, inner_max_num_threads=3, idle_worker_timeout=IDLE):
        tasks = (joblib.delayed(os.getenv)(name) for name in names)
        assert joblib.Parallel()(tasks) == ["3", "3"]


def test_large_arrays_are_mapped_and_not_copied(backend):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1_000_000.0)

    def look(part, n):
        return type(part).__name__, bool(part.flags.writeable), float(part[n])

    tasks = (joblib.delayed(look)(array, n) for n in range(4))
    assert joblib.Parallel()(tasks) == [("memmap", False, float(n)) for n in range(4)]
    result = joblib.Parallel()(joblib.delayed(numpy.negative)(array) for _ in range(2))
    assert type(result[0]) is numpy.ndarray and result[0][7] == -7.0


def test_a_program_needs_no_guard(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent(
            """
            import dishrack.joblib
            import joblib

            class Cup:
                def __init__(self, n):
                    self.n = n

            def wash(n):
                return Cup(n + 1)

            with joblib.parallel_config("dishrack", n_jobs=2):
                cups = joblib.Parallel()(joblib.delayed(wash)(n) for n in range(5))
            print([cup.n for cup in cups], all(isinstance(cup, Cup) for cup in cups))
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2, 3, 4, 5] True\n", "")


def test_grid_search_has_the_same_scores_while_workers_are_killed(tmp_path):
    pytest.importorskip("sklearn")
    program = pathlib.Path(__file__).parent / "programs" / "grid_search.py"
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "8 killed, the same scores\n", "")


def test_idle_workers_end(backend):
    assert squares(range(4)) == [0, 1, 4, 9]
    until(lambda: not workers_of(os.getpid()), "idle workers end")
    assert squares(range(4)) == [0, 1, 4, 9]
