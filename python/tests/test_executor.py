"""`dishrack.ProcessPoolExecutor`: futures, their states, shutdown, and workers that die."""

import asyncio
import concurrent.futures
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from concurrent.futures import process as standard

import pytest

import dishrack
from dishrack import ProcessPoolExecutor

from calls import die_at_seven, fail, fail_at_three, sleep_and_return, square

TIME = 60


def add(x, y):
    return x + y


def set_value(value):
    global VALUE
    VALUE = value


def get_value(_=None):
    return VALUE


def square_in_an_executor_that_stays(x):
    global STAYS
    STAYS = concurrent.futures.ProcessPoolExecutor(1)
    return STAYS.submit(square, x).result(TIME)


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("no")


class Submitting:
    """Submits a call while it is pickled."""

    executor = None

    def __reduce__(self):
        return int, (Submitting.executor.submit(square, 4).result(TIME),)


class NotUnpicklable:
    """Its pickle cannot be read."""

    def __reduce__(self):
        return fail, ("rust",)


def put_pid(queue):
    queue.put(os.getpid())


def unpicklable_result():
    return lambda: 0


@pytest.fixture
def executor():
    with ProcessPoolExecutor(2) as executor:
        yield executor


def test_submit(executor):
    future = executor.submit(pow, 2, 5)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(TIME) == 32
    assert executor.submit(dict, a=1, self=2, fn=3).result(TIME) == {"a": 1, "self": 2, "fn": 3}


def test_map(executor):
    assert list(executor.map(square, range(100))) == [n * n for n in range(100)]
    assert list(executor.map(add, range(9), iter(range(5)))) == [0, 2, 4, 6, 8]
    assert list(executor.map(add, range(9), range(9), chunksize=4)) == [2 * n for n in range(9)]
    assert list(executor.map(square, [])) == []
    with pytest.raises(ValueError):
        executor.map(square, [1], chunksize=0)


def test_map_raises_in_its_place(executor):
    results = executor.map(fail_at_three, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    results = executor.map(square, [1, Unpicklable()])
    assert next(results) == 1
    with pytest.raises(RuntimeError):
        next(results)


def test_map_has_a_timeout(executor):
    assert executor.submit(square, 1).result(TIME) == 1
    results = executor.map(sleep_and_return, [0, 1], timeout=0.5)
    assert next(results) == 0
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)


def test_map_with_a_buffer_reads_only_so_far_ahead(executor):
    taken = []

    def source():
        for n in range(50):
            taken.append(n)
            yield n

    results = executor.map(square, source(), buffersize=4)
    assert len(taken) == 4
    assert next(results) == 0
    assert len(taken) == 5
    assert list(results) == [n * n for n in range(1, 50)]
    with pytest.raises(ValueError):
        executor.map(square, [1], buffersize=0)


def test_exceptions_come_with_their_tracebacks(executor):
    error = executor.submit(fail, 5).exception(TIME)
    assert isinstance(error, ValueError) and error.args == (5,)
    assert type(error.__cause__) is standard._RemoteTraceback
    assert "a comment that a traceback shows" in error.__cause__.tb


def test_what_cannot_be_pickled_is_an_error_of_that_future(executor):
    assert isinstance(executor.submit(square, Unpicklable()).exception(TIME), RuntimeError)
    assert executor.submit(unpicklable_result).exception(TIME) is not None
    assert executor.submit(square, 3).result(TIME) == 9


def test_what_cannot_be_unpickled_is_an_error_of_that_future(executor):
    there = executor.submit(square, NotUnpicklable()).exception(TIME)
    here = executor.submit(NotUnpicklable).exception(TIME)
    assert isinstance(there, dishrack.NotUnpickled) and isinstance(here, dishrack.NotUnpickled)
    assert isinstance(there, standard.BrokenProcessPool)
    assert "ValueError('rust')" in str(there) and "ValueError('rust')" in str(here)
    assert executor.submit(square, 3).result(TIME) == 9


def test_an_initializer_uses_queues():
    queue = dishrack.Queue()
    with ProcessPoolExecutor(2, initializer=put_pid, initargs=(queue,)) as executor:
        assert executor.submit(square, 3).result(TIME) == 9
        pids = {queue.get(timeout=TIME) for _ in range(2)}
        assert pids == set(executor._processes)


def test_an_argument_may_submit_while_it_is_pickled(executor, monkeypatch):
    monkeypatch.setattr(Submitting, "executor", executor)
    assert executor.submit(square, Submitting()).result(TIME) == 256


def test_wait_and_as_completed(executor):
    futures = [executor.submit(sleep_and_return, n / 100) for n in range(10)]
    done, rest = concurrent.futures.wait(futures, TIME)
    assert len(done) == 10 and not rest
    futures = {executor.submit(square, n): n for n in range(20)}
    for future in concurrent.futures.as_completed(futures, TIME):
        assert future.result() == futures[future] ** 2


def test_callbacks(executor):
    told = threading.Event()
    executor.submit(square, 2).add_done_callback(lambda future: told.set())
    assert told.wait(TIME)


def test_asyncio(executor):
    async def main():
        loop = asyncio.get_running_loop()
        ran = loop.run_in_executor(executor, square, 7)
        wrapped = asyncio.wrap_future(executor.submit(add, 1, 2))
        return await asyncio.wait_for(asyncio.gather(ran, wrapped), TIME)

    assert asyncio.run(main()) == [49, 3]


def test_what_waits_is_cancelled_and_what_runs_is_not():
    with ProcessPoolExecutor(1) as executor:
        first = executor.submit(sleep_and_return, 0.5)
        rest = [executor.submit(sleep_and_return, 0.01) for _ in range(100)]
        while not first.running():
            time.sleep(0.01)
        assert not first.cancel()
        assert rest[-1].cancel() and rest[-1].cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            rest[-1].result(TIME)
        assert first.result(TIME) == 0.5
        done = concurrent.futures.wait(rest, TIME).done
        assert len(done) == 100
        assert not first.cancel() and not first.running()


def test_a_running_future_is_killed():
    with ProcessPoolExecutor(1) as executor:
        late = executor.submit(sleep_and_return, 1000)
        while not late.running():
            time.sleep(0.01)
        assert late.kill()
        with pytest.raises(concurrent.futures.CancelledError):
            late.result(TIME)
        assert executor.submit(square, 3).result(TIME) == 9
        assert not late.kill()


def test_shutdown():
    executor = ProcessPoolExecutor(2)
    futures = [executor.submit(square, n) for n in range(50)]
    results = executor.map(square, range(50))
    executor.shutdown()
    assert [future.result(0) for future in futures] == [n * n for n in range(50)]
    assert list(results) == [n * n for n in range(50)]
    with pytest.raises(RuntimeError):
        executor.submit(square, 1)
    with pytest.raises(RuntimeError):
        executor.map(square, [1])
    executor.shutdown()
    ProcessPoolExecutor(2).shutdown()


def test_shutdown_that_cancels():
    executor = ProcessPoolExecutor(2)
    futures = [executor.submit(sleep_and_return, 0.1) for _ in range(50)]
    results = executor.map(sleep_and_return, [0.1] * 20)
    executor.shutdown(cancel_futures=True)
    cancelled = [future for future in futures if future.cancelled()]
    assert len(cancelled) >= 35
    for future in futures:
        assert future.done()
        assert future.cancelled() or future.exception() is None
    with pytest.raises(concurrent.futures.CancelledError):
        list(results)


def test_shutdown_that_does_not_wait():
    executor = ProcessPoolExecutor(2)
    future = executor.submit(sleep_and_return, 0.3)
    executor.shutdown(wait=False)
    assert not future.done()
    assert future.result(TIME) == 0.3


def test_an_executor_that_is_dropped_finishes_its_calls():
    executor = ProcessPoolExecutor(2)
    futures = [executor.submit(sleep_and_return, 0.05) for _ in range(10)]
    thread = executor._dispatcher
    assert thread is not None
    del executor
    gc.collect()
    assert [future.result(TIME) for future in futures] == [0.05] * 10
    thread.join(TIME)
    assert not thread.is_alive()


def test_killed_workers_of_the_program():
    executor = ProcessPoolExecutor(2)
    late = executor.submit(sleep_and_return, 1000)
    executor.kill_workers()
    with pytest.raises(standard.BrokenProcessPool):
        late.result(TIME)
    with pytest.raises(RuntimeError):
        executor.submit(square, 1)


def test_initializer_and_lifetime():
    with ProcessPoolExecutor(2, initializer=set_value, initargs=(41,)) as executor:
        assert list(executor.map(get_value, range(20))) == [41] * 20
    with ProcessPoolExecutor(1, max_tasks_per_child=3) as executor:
        pids = {executor.submit(os.getpid).result(TIME) for _ in range(10)}
        assert len(pids) > 2


def test_an_initializer_that_raises_breaks_the_executor():
    with ProcessPoolExecutor(1, initializer=fail, initargs=("bad start",)) as executor:
        with pytest.raises(concurrent.futures.BrokenExecutor):
            executor.submit(square, 1).result(TIME)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            while True:
                executor.submit(square, 1).exception(TIME)


def test_wrong_arguments():
    for bad in (0, -1):
        with pytest.raises(ValueError):
            ProcessPoolExecutor(bad)
        with pytest.raises(ValueError):
            ProcessPoolExecutor(1, max_tasks_per_child=bad)
    with pytest.raises(TypeError):
        ProcessPoolExecutor(1, max_tasks_per_child="1")
    with pytest.raises(TypeError):
        ProcessPoolExecutor(1, initializer=7)


def test_values_are_not_kept_alive(executor):
    future = executor.submit(set, (1, 2))
    value = weakref.ref(future.result(TIME))
    assert value() is not None
    del future
    executor.submit(square, 1).result(TIME)
    gc.collect()
    assert value() is None


def test_many_threads(executor):
    def work(k):
        futures = [executor.submit(square, n) for n in range(k, k + 100)]
        assert [future.result(TIME) for future in futures] == [n * n for n in range(k, k + 100)]
        done.append(k)

    done = []
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIME)
    assert sorted(done) == list(range(8))


# Workers that die.


def kill_workers(executor):
    for _, worker in executor.workers():
        try:
            os.kill(worker, signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_a_call_that_kills_its_workers_fails_alone():
    with ProcessPoolExecutor(2, max_attempts=2) as executor:
        futures = [executor.submit(die_at_seven, n) for n in range(20)]
        for n, future in enumerate(futures):
            if n != 7:
                assert future.result(TIME) == n
        error = futures[7].exception(TIME)
        assert isinstance(error, dishrack.WorkerDied)
        assert isinstance(error, standard.BrokenProcessPool)
        assert error.attempts == 2 and "SIGKILL" in error.causes[-1]
        assert executor.submit(square, 3).result(TIME) == 9


def test_killed_workers_cost_nothing():
    with ProcessPoolExecutor(2, max_attempts=100) as executor:
        futures = [executor.submit(square, n) for n in range(2000)]
        for n in range(10):
            futures[200 * n].result(TIME)
            kill_workers(executor)
        assert [future.result(TIME) for future in futures] == [n * n for n in range(2000)]
        for n in range(5):
            kill_workers(executor)
            assert executor.submit(square, n).result(TIME) == n * n


def test_a_call_over_its_time_fails_alone():
    with ProcessPoolExecutor(2, timeout=3, max_attempts=1) as executor:
        late = executor.submit(sleep_and_return, 1000)
        assert list(executor.map(square, range(100))) == [n * n for n in range(100)]
        assert isinstance(late.exception(TIME), dishrack.CallTimedOut)


def program(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    run = [sys.executable, str(path)]
    return subprocess.run(run, capture_output=True, text=True, timeout=TIME)


def test_a_program_ends_when_its_calls_have_ended(tmp_path):
    ended = program(
        tmp_path,
        """
        import time
        from dishrack import ProcessPoolExecutor

        def late(x):
            time.sleep(0.3)
            print("made", x, flush=True)

        if __name__ == "__main__":
            executor = ProcessPoolExecutor(2)
            executor.submit(late, 1)
        """,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "made 1\n", "")


def test_a_program_with_an_open_pool_ends(tmp_path):
    ended = program(
        tmp_path,
        """
        import time
        import dishrack as mp

        if __name__ == "__main__":
            pool = mp.Pool(2)
            print(pool.apply(abs, (-3,)))
            pool.apply_async(time.sleep, (1000,))
        """,
    )
    assert (ended.returncode, ended.stdout) == (0, "3\n"), ended.stderr


def test_ctrl_c_ends_a_program_at_once(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(
        textwrap.dedent(
            """
            import time
            import dishrack as mp

            if __name__ == "__main__":
                with mp.Pool(2) as pool:
                    pool.apply(abs, (1,))
                    print("ready", flush=True)
                    pool.map(time.sleep, [1000] * 4, 1)
            """
        )
    )
    run = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout.readline() == "ready\n"
    time.sleep(0.2)
    began = time.monotonic()
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=TIME)
    assert run.returncode in (1, -signal.SIGINT)
    assert time.monotonic() - began < 10
    assert errors.count("KeyboardInterrupt") >= 1 and errors.count("Traceback") == 1


def test_a_worker_ends_in_which_a_call_has_left_an_executor():
    executor = ProcessPoolExecutor(1)
    assert executor.submit(square_in_an_executor_that_stays, 3).result(TIME) == 9
    thread = executor._executor_manager_thread
    executor.shutdown(wait=False)
    thread.join(TIME)
    assert not thread.is_alive()
