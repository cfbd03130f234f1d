"""A supervisor: its workers are started again, can be seen, scaled and stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import dishrack
import pytest
from conftest import PATIENCE, until


def dry(rack, dried):
    while True:
        dish = rack.get()
        if dish == "bomb":
            os.kill(os.getpid(), signal.SIGKILL)
        dried.put((dish, os.getpid(), multiprocessing.current_process().name))
        rack.task_done()


def pids_of(supervisor):
    return {worker.pid for worker in supervisor.status().workers if worker.state == "idle"}


def test_its_workers_serve_a_queue_under_their_names():
    rack, dried = dishrack.JoinableQueue(), dishrack.Queue()
    with dishrack.Supervisor(dry, (rack, dried), workers=2, name="dryer") as supervisor:
        for n in range(20):
            rack.put(n)
        rack.join(PATIENCE)
        dishes = [dried.get(timeout=PATIENCE) for _ in range(20)]
        status = supervisor.status()
        assert (status.state, status.wanted, status.restarts) == ("running", 2, 0)
        known = {(worker.pid, worker.name) for worker in status.workers}
        assert {(pid, name) for _, pid, name in dishes} <= known
        assert {worker.name for worker in status.workers} == {"dryer-1", "dryer-2"}
    assert sorted(dish for dish, _, _ in dishes) == list(range(20))
    status = supervisor.status()
    assert (status.state, status.workers) == ("over", [])
    assert supervisor.join(0)


def test_workers_that_die_are_started_again_and_no_item_is_lost():
    rack, dried = dishrack.JoinableQueue(max_attempts=2), dishrack.Queue()
    with dishrack.Supervisor(dry, (rack, dried), workers=2) as supervisor:
        for dish in ["cup", "bomb", "plate"]:
            rack.put(dish)
        rack.join(PATIENCE)
        assert sorted(dried.get(timeout=PATIENCE)[0] for _ in range(2)) == ["cup", "plate"]
        (letter,) = rack.take_dead_letters()
        assert letter.item == "bomb"
        until(lambda: len(pids_of(supervisor)) == 2, "both are there again")
        assert supervisor.status().restarts == 2
        (idle, other) = pids_of(supervisor)
        os.kill(idle, signal.SIGKILL)
        until(lambda: pids_of(supervisor) - {idle, other}, "an idle one is replaced")
        assert any("SIGKILL" in str(one.last_death) for one in supervisor.status().workers)


def test_it_has_as_many_workers_as_it_is_told():
    rack, dried = dishrack.JoinableQueue(), dishrack.Queue()
    with dishrack.Supervisor(dry, (rack, dried), workers=1) as supervisor:
        supervisor.scale(3, PATIENCE)
        assert len(supervisor.status().workers) == 3
        supervisor.scale(1, PATIENCE)
        assert (len(supervisor.status().workers), supervisor.status().wanted) == (1, 1)
        rack.put("cup")
        rack.join(PATIENCE)
        assert dried.get(timeout=PATIENCE)[0] == "cup"


def test_one_that_never_works_is_given_up_and_a_join_says_so(capfd):
    rack = dishrack.JoinableQueue()
    with dishrack.Supervisor(
        fail_on, (rack,), workers=1, intensity=(1, 60.0), name="dryer"
    ) as supervisor:
        rack.put("cup")
        with pytest.raises(dishrack.NoWorkersLeft):
            rack.join(PATIENCE)
        assert supervisor.join(PATIENCE)
    assert "no water" in capfd.readouterr().err


def fail_on(rack):
    raise OSError("no water")


def return_at_once(done):
    done.put(os.getpid())


def test_one_that_returns_is_started_again_if_it_is_permanent():
    done = dishrack.Queue()
    with dishrack.Supervisor(return_at_once, (done,), workers=1) as supervisor:
        assert supervisor.join(PATIENCE)
    assert done.get(timeout=PATIENCE) > 0
    with dishrack.Supervisor(return_at_once, (done,), workers=1, restart="permanent"):
        assert len({done.get(timeout=PATIENCE) for _ in range(3)}) == 3


def wait_for_ever(started):
    started.put(os.getpid())
    threading.Event().wait()


def test_one_that_does_not_end_is_killed_after_its_grace():
    started = dishrack.Queue()
    with dishrack.Supervisor(wait_for_ever, (started,), workers=1, grace=0.1):
        pid = started.get(timeout=PATIENCE)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        dishrack.Supervisor(dry, workers=0)
    with pytest.raises(TypeError, match="callable"):
        dishrack.Supervisor("dry")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="transient"):
        dishrack.Supervisor(return_at_once, workers=1, restart="sometimes")
