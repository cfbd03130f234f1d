"""Processes: what they run, how they end, and what becomes of what they held."""

from __future__ import annotations

import os
import signal
import sys
import threading

import dishrack
import pytest
from conftest import PATIENCE


def put_pid_and_name(results):
    import multiprocessing

    results.put((os.getpid(), os.getppid(), multiprocessing.current_process().name))


def test_it_runs_its_target_elsewhere_under_its_name():
    results = dishrack.Queue()
    process = dishrack.Process(target=put_pid_and_name, args=(results,), name="dryer")
    process.start()
    assert results.get(timeout=PATIENCE) == (process.pid, os.getpid(), "dryer")
    process.join()
    assert process.exitcode == 0 and not process.is_alive()
    process.close()


def end_with(how):
    if how == "raise":
        raise KeyError("cup")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(how)


@pytest.mark.parametrize(
    ("how", "code"), [(0, 0), (7, 7), (None, 0), ("a text", 1), ("raise", 1), ("kill", -9)]
)
def test_its_exit_code_says_how_it_ended(how, code):
    process = dishrack.Process(target=end_with, args=(how,))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == code


def wait_for_ever():
    threading.Event().wait()


@pytest.mark.parametrize(("end", "code"), [("terminate", -15), ("kill", -9)])
def test_it_can_be_ended(end, code):
    process = dishrack.Process(target=wait_for_ever)
    process.start()
    assert process.is_alive()
    process.join(0.01)
    assert process.exitcode is None
    getattr(process, end)()
    process.join(PATIENCE)
    assert process.exitcode == code


def dry_but_die_at(rack, dried, fatal):
    while True:
        dish = rack.get()
        if dish == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        dried.put(dish)
        rack.task_done()


def dry_all(rack, dried):
    dry_but_die_at(rack, dried, None)


def test_what_a_dead_process_held_goes_to_another_one():
    rack, dried = dishrack.JoinableQueue(), dishrack.Queue()
    dishes = [f"dish-{n}" for n in range(20)]
    processes = [
        dishrack.Process(target=dry_but_die_at, args=(rack, dried, "dish-3"), daemon=True),
        dishrack.Process(target=dry_all, args=(rack, dried), daemon=True),
    ]
    for dish in dishes:
        rack.put(dish)
    for process in processes:
        process.start()
    rack.join(PATIENCE)
    assert sorted({dried.get(timeout=PATIENCE) for _ in dishes}) == sorted(dishes)
    for process in processes:
        process.kill()
        process.join()


def take(queue, count):
    for _ in range(count):
        queue.get()


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
@pytest.mark.parametrize("kind, left", [("Queue", 1), ("SimpleQueue", 1), ("JoinableQueue", 4)])
def test_an_orderly_end_acknowledges_what_waits_for_no_task_done(method, kind, left):
    context = dishrack.get_context(method)
    queue = getattr(context, kind)()
    for number in range(4):
        queue.put(number)
    process = context.Process(target=take, args=(queue, 3))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert [queue.get() for _ in range(left)] == list(range(4 - left, 4))
    assert queue.empty()


def test_an_item_that_kills_everybody_is_a_dead_letter():
    rack, dried = dishrack.JoinableQueue(max_attempts=2), dishrack.Queue()
    processes = [
        dishrack.Process(target=dry_but_die_at, args=(rack, dried, "bomb"), name=f"dryer-{n}")
        for n in range(3)
    ]
    rack.put("bomb")
    rack.put("cup")
    for process in processes:
        process.start()
    rack.join()
    (letter,) = rack.take_dead_letters()
    assert (letter.item, [one.attempt for one in letter.history]) == ("bomb", [1, 2])
    assert {one.pid for one in letter.history} < {process.pid for process in processes}
    assert all("SIGKILL" in one.cause for one in letter.history)
    assert dried.get(timeout=PATIENCE) == "cup"
    for process in processes:
        process.kill()
        process.join()


def hold(rack, held):
    held.put(rack.get())
    wait_for_ever()


def test_a_join_whose_time_is_over_says_who_holds_what():
    rack, held = dishrack.JoinableQueue(), dishrack.Queue()
    process = dishrack.Process(target=hold, args=(rack, held), name="dryer")
    process.start()
    rack.put("cup")
    assert held.get(timeout=PATIENCE) == "cup"
    with pytest.raises(dishrack.TimeoutError, match="dryer") as caught:
        rack.join(0.05)
    assert caught.value.holders == [f"dryer ({process.pid}) has item 1"]
    process.kill()
    process.join()


def tell_of_fork(results):
    results.put((threading.current_thread() is threading.main_thread(), threading.get_native_id()))
    results.put(("this" in sys.modules, os.getpid()))


def test_a_forked_process_has_what_was_preloaded():
    context = dishrack.get_context("forkserver")
    context.set_forkserver_preload(["this", "there_is_no_such_module"])
    results = context.Queue()
    process = context.Process(target=tell_of_fork, args=(results,))
    process.start()
    context.set_forkserver_preload([])
    assert results.get(timeout=PATIENCE) == (True, process.pid)
    assert results.get(timeout=PATIENCE) == (True, process.pid)
    process.join()
    assert process.exitcode == 0


def test_join_says_so_when_the_last_consumer_is_dead():
    rack, dried = dishrack.JoinableQueue(), dishrack.Queue()
    rack.put("dish-1")
    rack.put("dish-2")
    process = dishrack.Process(target=dry_but_die_at, args=(rack, dried, "dish-2"))
    process.start()
    with pytest.raises(dishrack.NoWorkersLeft, match="1 items are unfinished"):
        rack.join()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert rack.get(timeout=PATIENCE) == "dish-2"
    rack.task_done()
    rack.join()


def start_another(results):
    process = dishrack.Process(target=put_pid_and_name, args=(results,), name="inner")
    process.start()
    process.join()
    results.put(process.exitcode)


def start_inside(outer):
    results = dishrack.Queue()
    start_another(results)
    outer.put([results.get(timeout=PATIENCE)[1:], results.get(timeout=PATIENCE)])


def test_a_process_may_start_processes_of_its_own():
    results = dishrack.Queue()
    process = dishrack.Process(target=start_inside, args=(results,))
    process.start()
    assert results.get(timeout=PATIENCE) == [(process.pid, "inner"), 0]
    process.join()
