"""Many kills of busy and idle workers, of both pools: nothing is lost, and nothing hangs."""

import os
import random
import signal

import pytest

import dishrack as mp

from calls import square

KILLS = int(os.environ.get("DISHRACK_KILLS", "20"))
TIME = 120


def kill_one(pids, dice):
    if pids:
        try:
            os.kill(dice.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.mark.parametrize("seed", range(2))
def test_a_pool_outlives_many_kills(seed):
    dice = random.Random(seed)
    with mp.Pool(2, max_attempts=1000) as pool:
        for _ in range(KILLS):
            results = pool.imap(square, range(200))
            mapped = pool.map_async(square, range(200), 7)
            one = pool.apply_async(square, (3,))
            values = []
            at = dice.randrange(200)
            for n in range(200):
                if n == at:
                    kill_one(pool._calls.pids(), dice)
                values.append(results.next(TIME))
            assert values == [n * n for n in range(200)]
            assert mapped.get(TIME) == values
            assert one.get(TIME) == 9
        pool.close()
        pool.join()


@pytest.mark.parametrize("seed", range(2))
def test_an_executor_outlives_many_kills(seed):
    dice = random.Random(seed)
    with mp.ProcessPoolExecutor(2, max_attempts=1000) as executor:
        for _ in range(KILLS):
            futures = [executor.submit(square, n) for n in range(100)]
            results = executor.map(square, range(100))
            at = dice.randrange(100)
            for n, future in enumerate(futures):
                if n == at:
                    kill_one(executor._calls.pids(), dice)
                assert future.result(TIME) == n * n
            assert list(results) == [n * n for n in range(100)]
            # Nothing is under way now.
            kill_one(executor._calls.pids(), dice)
            assert executor.submit(square, 5).result(TIME) == 25
