"""The executor in an event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from calls import die_at_seven, fail_at_three, sleep_and_return, square
from conftest import PATIENCE

from dishrack import ProcessPoolExecutor


def run(main):
    return asyncio.run(asyncio.wait_for(main, PATIENCE))


def test_results_come_in_order_and_the_loop_goes_on():
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        async with ProcessPoolExecutor(2) as executor:
            values = [value async for value in executor.async_map(square, range(50))]
            late = executor.async_map(sleep_and_return, [0.2, 0.1])
            before = ticks
            assert [value async for value in late] == [0.2, 0.1]
            assert ticks > before
        ticking.cancel()
        with pytest.raises(RuntimeError):
            executor.submit(square, 1)
        return values

    assert run(main()) == [n * n for n in range(50)]


def test_only_so_many_are_read_ahead():
    async def main():
        taken = []

        def source():
            for n in range(20):
                taken.append(n)
                yield n

        async with ProcessPoolExecutor(2) as executor:
            values = executor.async_map(square, source(), buffersize=3)
            assert await values.__anext__() == 0
            assert len(taken) == 3
            assert [value async for value in values] == [n * n for n in range(1, 20)]
            with pytest.raises(ValueError):
                await executor.async_map(square, [1], buffersize=0).__anext__()

    run(main())


def test_an_exception_is_raised_in_its_place_and_cancels_what_is_left():
    async def main():
        async with ProcessPoolExecutor(1) as executor:
            values = executor.async_map(fail_at_three, range(1000), buffersize=500)
            taken = []
            with pytest.raises(KeyError):
                async for value in values:
                    taken.append(value)
            assert taken == [0, 1, 2]
            assert await asyncio.get_running_loop().run_in_executor(executor, square, 3) == 9

    run(main())


def test_a_task_that_is_cancelled_cancels_what_no_worker_has():
    async def main():
        async with ProcessPoolExecutor(1) as executor:
            begin = time.monotonic()

            async def read():
                return [value async for value in executor.async_map(sleep_and_return, [0.5] * 200)]

            reading = asyncio.create_task(read())
            await asyncio.sleep(0.1)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        # All of them would take longer than anybody waits for.
        assert time.monotonic() - begin < PATIENCE / 2

    run(main())


def test_a_worker_that_is_killed_costs_nobody_anything():
    async def main():
        async with ProcessPoolExecutor(2, max_attempts=20) as executor:
            killed = 0
            values = []
            async for value in executor.async_map(square, range(400), buffersize=20):
                values.append(value)
                if len(values) % 40 == 0:
                    for _, pid in executor.workers()[:1]:
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
            assert killed > 0
            return values

    assert run(main()) == [n * n for n in range(400)]


def test_a_call_whose_workers_die_is_an_error_of_its_own():
    async def main():
        async with ProcessPoolExecutor(2) as executor:
            calls = [asyncio.wrap_future(executor.submit(die_at_seven, n)) for n in range(10)]
            return await asyncio.gather(*calls, return_exceptions=True)

    values = run(main())
    assert values[:7] + values[8:] == [n for n in range(10) if n != 7]
    assert type(values[7]).__name__ == "WorkerDied" and values[7].attempts == 3
