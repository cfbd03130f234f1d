"""`dishrack.Pool`: the forms of a call, order, exceptions, and workers that die."""

import gc
import itertools
import os
import signal
import threading
import time
import traceback
import weakref

import pytest

import dishrack as mp
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback

from calls import die_at_seven, fail, fail_at_three, sleep_and_return, square

TIME = 60


def add(x, y=0, *, z=0):
    return x + y + z


def pid(_=None):
    return os.getpid()


def die(x):
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(path):
    """Kills its worker the first time."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "second"
    os.kill(os.getpid(), signal.SIGKILL)


def unpicklable_result(_):
    return lambda: 0


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("no")


class UnpicklableError(Exception):
    def __init__(self):
        super().__init__(threading.Lock())


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def raise_unpicklable(_):
    raise UnpicklableError()


def raise_what_does_not_come_back(_):
    raise TwoArguments(1, 2)


def set_value(value):
    global VALUE
    VALUE = value


def get_value(_=None):
    return VALUE


@pytest.fixture
def pool():
    with mp.Pool(2) as pool:
        yield pool
        pool.close()
        pool.join()


def test_apply(pool):
    assert pool.apply(add, (1,), {"y": 2, "z": 3}) == 6
    assert pool.apply(add, [5]) == 5


def test_map_keeps_the_order(pool):
    assert pool.map(square, range(100)) == [n * n for n in range(100)]
    assert pool.map(square, range(100), chunksize=1) == [n * n for n in range(100)]
    assert pool.map(square, iter(range(10)), chunksize=20) == [n * n for n in range(10)]
    assert pool.map(square, []) == []


def test_starmap(pool):
    arguments = list(zip(range(20), range(20, 40)))
    assert pool.starmap(add, arguments) == [a + b for a, b in arguments]
    assert pool.starmap_async(add, arguments, 3).get(TIME) == [a + b for a, b in arguments]
    assert pool.starmap(add, [[1, 2], range(2)]) == [3, 1]


@pytest.mark.parametrize("chunksize", [1, 3, 100])
@pytest.mark.parametrize("source", [list, iter])
def test_imap(pool, chunksize, source):
    items = source(range(50))
    assert list(pool.imap(square, items, chunksize)) == [n * n for n in range(50)]
    items = source(range(50))
    results = pool.imap_unordered(square, items, chunksize)
    assert sorted(results) == [n * n for n in range(50)]


def test_imap_has_next_with_a_timeout(pool):
    results = pool.imap(sleep_and_return, [0.5, 0])
    with pytest.raises(mp.TimeoutError):
        results.next(timeout=0.01)
    assert results.next(TIME) == 0.5
    assert next(results) == 0
    with pytest.raises(StopIteration):
        results.next()


def test_async_results(pool):
    result = pool.apply_async(sleep_and_return, (0.3,))
    assert not result.ready()
    with pytest.raises(ValueError):
        result.successful()
    with pytest.raises(mp.TimeoutError):
        result.get(timeout=0.01)
    assert result.get(TIME) == 0.3
    assert result.ready() and result.successful()


def test_callbacks(pool):
    told = []
    pool.apply_async(square, (3,), callback=told.append).get(TIME)
    pool.map_async(square, [1, 2], callback=told.append).get(TIME)
    with pytest.raises(ValueError):
        pool.apply_async(fail, (1,), error_callback=told.append).get(TIME)
    with pytest.raises(KeyError):
        pool.map_async(fail_at_three, range(5), 1, error_callback=told.append).get(TIME)
    assert told[:2] == [9, [1, 4]]
    assert [type(one) for one in told[2:]] == [ValueError, KeyError]


def test_a_callback_that_raises_harms_no_other_call(pool, monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    def bad(_):
        raise RuntimeError("bad")

    assert pool.apply_async(square, (2,), callback=bad).get(TIME) == 4
    assert pool.apply(square, (3,)) == 9
    assert [one.exc_type for one in reported] == [RuntimeError]


def test_exceptions_come_with_their_tracebacks(pool):
    with pytest.raises(ValueError) as caught:
        pool.apply(fail, (5,))
    assert caught.value.args == (5,)
    assert type(caught.value.__cause__) is RemoteTraceback
    text = "".join(traceback.format_exception(type(caught.value), caught.value, None))
    assert "a comment that a traceback shows" in text
    with pytest.raises(KeyError):
        pool.map(fail_at_three, range(10), 2)


def test_exceptions_in_iterators_take_their_place(pool):
    for source in (list, iter):
        results = pool.imap(fail_at_three, source(range(6)))
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeyError):
            next(results)
        assert list(results) == [4, 5]


def test_an_iterable_that_raises(pool):
    def source():
        yield from range(4)
        raise OSError("the source is dry")

    with pytest.raises(OSError):
        pool.map(square, source())
    for chunksize in (1, 2):
        results = pool.imap(square, source(), chunksize)
        values = []
        with pytest.raises(OSError):
            for value in results:
                values.append(value)
        assert values == [0, 1, 4, 9]
        assert list(results) == []
        results = pool.imap_unordered(square, source(), chunksize)
        with pytest.raises(OSError):
            for _ in range(6):
                next(results)
    with pytest.raises(TypeError):
        next(pool.imap(square, 7))


def test_what_cannot_be_pickled_is_an_error_of_that_call(pool):
    results = pool.imap(square, [1, Unpicklable(), 3])
    assert next(results) == 1
    with pytest.raises(RuntimeError):
        next(results)
    assert next(results) == 9
    with pytest.raises(RuntimeError):
        pool.apply_async(square, (Unpicklable(),)).get(TIME)
    with pytest.raises(MaybeEncodingError):
        pool.apply(unpicklable_result, (1,))
    with pytest.raises(MaybeEncodingError):
        pool.apply(raise_unpicklable, (1,))
    assert pool.apply(square, (4,)) == 16


def test_an_exception_that_does_not_come_back_harms_nobody(pool):
    with pytest.raises(Exception) as caught:
        pool.apply(raise_what_does_not_come_back, (1,))
    assert "raise TwoArguments(1, 2)" in str(caught.value.__cause__) + str(caught.value)
    assert pool.apply(square, (4,)) == 16


def test_imap_works_though_nobody_reads(tmp_path):
    pool = mp.Pool(2)
    paths = [str(tmp_path / str(n)) for n in range(50)]
    for source in (list, iter):
        pool.imap_unordered(os.mkdir, source(paths))
        pool.close()
        pool.join()
        assert len(os.listdir(tmp_path)) == 50
        for path in paths:
            os.rmdir(path)
        pool = mp.Pool(2)
    pool.terminate()
    pool.join()


def test_initializer_and_lifetime():
    with mp.Pool(2, set_value, (41,), maxtasksperchild=5) as pool:
        assert pool.map(get_value, range(40), 1) == [41] * 40
        assert len(set(pool.map(pid, range(40), 1))) > 2


def test_an_initializer_that_raises_is_an_error_of_the_call(capfd):
    with mp.Pool(1, fail, ("bad start",)) as pool:
        with pytest.raises(mp.InitializerFailed) as caught:
            pool.apply_async(square, (1,)).get(TIME)
        assert "bad start" in str(caught.value)
    assert "bad start" in capfd.readouterr().err


def test_wrong_arguments():
    with pytest.raises(ValueError):
        mp.Pool(0)
    with pytest.raises(TypeError):
        mp.Pool(1, initializer=7)
    for bad in (0, -1, 0.5, "1"):
        with pytest.raises(ValueError):
            mp.Pool(1, maxtasksperchild=bad)


def test_states():
    pool = mp.Pool(1)
    with pytest.raises(ValueError):
        pool.join()
    result = pool.apply_async(sleep_and_return, (0.2,))
    pool.close()
    with pytest.raises(ValueError):
        pool.apply(square, (1,))
    pool.join()
    assert result.get(TIME) == 0.2
    with pytest.raises(NotImplementedError):
        mp.Pool.__reduce__(pool)


def test_terminate_ends_what_runs_and_tells_the_rest():
    pool = mp.Pool(2)
    results = [pool.apply_async(sleep_and_return, (1000,)) for _ in range(5)]
    began = time.monotonic()
    pool.terminate()
    pool.join()
    assert time.monotonic() - began < 20
    for result in results:
        with pytest.raises(mp.Error):
            result.get(TIME)


def test_an_unclosed_pool_says_so():
    pool = mp.Pool(1)
    pool.apply(square, (1,))
    with pytest.warns(ResourceWarning):
        del pool
        gc.collect()


def test_values_are_not_kept_alive(pool):
    class Value(list):
        pass

    value = pool.apply(list, ((1,),))
    result = pool.apply_async(set, ((1, 2),))
    got = result.get(TIME)
    gone = weakref.ref(got)
    del got, result
    pool.apply(square, (1,))
    gc.collect()
    assert gone() is None and value == [1]


# Workers that die.


def kill_workers(pool):
    for _, worker in pool._calls.workers():
        try:
            os.kill(worker, signal.SIGKILL)
        except ProcessLookupError:
            pass


def test_a_call_that_kills_its_workers_fails_alone():
    with mp.Pool(2, max_attempts=2) as pool:
        results = [pool.apply_async(die_at_seven, (n,)) for n in range(20)]
        for n, result in enumerate(results):
            if n != 7:
                assert result.get(TIME) == n
        with pytest.raises(mp.WorkerDied) as caught:
            results[7].get(TIME)
        assert caught.value.attempts == 2
        assert len(caught.value.causes) == 2 and "SIGKILL" in caught.value.causes[0]
        results = pool.imap_unordered(die_at_seven, range(20))
        values, errors = [], []
        for _ in range(20):
            try:
                values.append(next(results))
            except mp.WorkerDied as error:
                errors.append(error)
        assert sorted(values) == [n for n in range(20) if n != 7] and len(errors) == 1


def test_a_call_whose_worker_dies_is_made_again(tmp_path):
    with mp.Pool(2) as pool:
        assert pool.apply(die_once, (str(tmp_path / "mark"),)) == "second"


def test_killed_idle_workers_cost_nothing():
    with mp.Pool(2) as pool:
        for n in range(5):
            assert pool.map_async(square, range(4), 1).get(TIME) == [0, 1, 4, 9]
            kill_workers(pool)
        assert pool.apply_async(square, (9,)).get(TIME) == 81


def test_killed_busy_workers_cost_nothing():
    items = 3000
    with mp.Pool(2, max_attempts=100) as pool:
        results = pool.imap_unordered(square, range(items))
        mapped = pool.map_async(square, range(items), 10)
        seen = []
        for n, value in enumerate(results):
            seen.append(value)
            if n % 300 == 0:
                kill_workers(pool)
        assert sorted(seen) == [n * n for n in range(items)]
        assert mapped.get(TIME) == [n * n for n in range(items)]


def test_a_call_over_its_time_fails_alone():
    with mp.Pool(2, timeout=3, max_attempts=1) as pool:
        late = pool.apply_async(sleep_and_return, (1000,))
        assert pool.map_async(square, range(100), 1).get(TIME) == [n * n for n in range(100)]
        with pytest.raises(mp.CallTimedOut):
            late.get(TIME)
        with pytest.raises(TimeoutError):
            late.get(TIME)


def test_a_running_call_is_cancelled():
    with mp.Pool(1) as pool:
        late = pool.apply_async(sleep_and_return, (1000,))
        next_one = pool.apply_async(square, (3,))
        time.sleep(0.2)
        assert late.cancel()
        with pytest.raises(mp.Cancelled):
            late.get(TIME)
        assert next_one.get(TIME) == 9
        assert not late.cancel()


def test_a_generator_without_end_is_fed_while_it_is_read():
    with mp.Pool(2) as pool:
        results = pool.imap(square, itertools.count())
        assert [next(results) for _ in range(100)] == [n * n for n in range(100)]
