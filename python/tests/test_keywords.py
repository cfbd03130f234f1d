"""What queues and pools can do by keyword beyond the standard ones."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import types

import dishrack
import pytest
from conftest import PATIENCE, until
from dishrack import events


def hold_for_ever(queue, held):
    held.put(queue.get())
    threading.Event().wait()


def get_and_tell(queue, told):
    while True:
        told.put(queue.get())
        queue.task_done()


def test_an_item_that_takes_too_long_is_taken_from_its_process():
    queue, held = dishrack.JoinableQueue(timeout=0.2, max_attempts=2), dishrack.Queue()
    consumers = [dishrack.Process(target=hold_for_ever, args=(queue, held)) for _ in range(2)]
    for consumer in consumers:
        consumer.start()
    queue.put("cup")
    queue.join(PATIENCE)
    (letter,) = queue.dead_letters()
    assert (letter.item, letter.attempts) == ("cup", 2)
    assert all("took longer" in cause or "time limit" in cause for cause in letter.causes)
    for consumer in consumers:
        consumer.join(PATIENCE)
        assert consumer.exitcode in (-signal.SIGTERM, -signal.SIGKILL)


def keep_much_for_ever(queue):
    queue.get()
    much = b"x" * (256 << 20)
    threading.Event().wait(len(much))


def test_an_item_that_takes_too_much_memory_is_taken_from_its_process():
    queue = dishrack.JoinableQueue(max_memory=128 << 20, max_attempts=3)
    consumers = [dishrack.Process(target=keep_much_for_ever, args=(queue,)) for _ in range(2)]
    for consumer in consumers:
        consumer.start()
    queue.put("cup")
    queue.join(PATIENCE)
    (letter,) = queue.dead_letters()
    assert (letter.item, letter.attempts) == ("cup", 2)
    assert letter.causes[0] == "used more memory than its limit of 128 MiB"
    assert "also when it ran alone" in letter.causes[1]
    for consumer in consumers:
        consumer.join(PATIENCE)
        assert consumer.exitcode == -signal.SIGKILL


def complain_and_die(queue):
    cup = queue.get()
    os.write(2, f"no water for {cup}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


def dead_letter(queue, item):
    queue.put(item)
    consumer = dishrack.Process(target=complain_and_die, args=(queue,))
    consumer.start()
    consumer.join()
    until(lambda: len(queue.dead_letters()) > 0, "it is a dead letter")


def test_a_dead_letter_says_all_and_can_be_tried_again_or_dropped(capfd):
    queue = dishrack.JoinableQueue(max_attempts=1)
    dead_letter(queue, {"cup": 1})
    (letter,) = queue.dead_letters()
    assert (letter.number, letter.item, letter.attempts) == (1, {"cup": 1}, 1)
    assert letter.causes == ["killed by SIGKILL"]
    assert "no water for" in letter.stderr
    assert "SIGKILL" in repr(letter)
    assert letter.retry() and not letter.retry()
    assert queue.dead_letters() == []
    assert queue.get(timeout=PATIENCE) == {"cup": 1}
    queue.task_done()
    queue.join()
    dead_letter(queue, "plate")
    (letter,) = queue.dead_letters()
    assert letter.drop() and not letter.drop() and not letter.retry()
    assert queue.take_dead_letters() == []


def open_and_die(path):
    queue = dishrack.JoinableQueue(journal=path)
    for n in range(10):
        queue.put(n)
    assert queue.get() == 0
    queue.task_done()
    # What was told before is durable when this is.
    queue.put(10)
    queue.get()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_queue_with_a_journal_goes_on_after_the_program_was_killed(tmp_path):
    path = tmp_path / "dishes.journal"
    program = dishrack.Process(target=open_and_die, args=(path,))
    program.start()
    program.join(PATIENCE)
    assert program.exitcode == -signal.SIGKILL
    queue, told = dishrack.JoinableQueue(journal=path), dishrack.Queue()
    assert queue.qsize() == 10
    with pytest.raises(dishrack.JournalError, match="open already"):
        dishrack.JoinableQueue(journal=path)
    consumer = dishrack.Process(target=get_and_tell, args=(queue, told), daemon=True)
    consumer.start()
    queue.join(PATIENCE)
    assert sorted(told.get(timeout=PATIENCE) for _ in range(10)) == list(range(1, 11))
    consumer.kill()
    consumer.join()
    queue.put("plate")
    queue.close()
    again = dishrack.JoinableQueue(journal=path)
    assert again.get() == "plate"
    again.task_done()
    again.join(1)
    del again
    assert dishrack.JoinableQueue(journal=path).empty()


def test_a_journal_that_cannot_be_used_is_an_error(tmp_path):
    with pytest.raises(dishrack.JournalError):
        dishrack.Queue(journal=tmp_path)
    with pytest.raises(ValueError, match="not both"):
        dishrack.Queue(journal=tmp_path / "x", redis=("redis://localhost", "x"))


@pytest.fixture
def redis(tmp_path):
    """The address of a Redis of this test's own."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    path = tmp_path / "redis.sock"
    command = ["redis-server", "--port", "0", "--unixsocket", str(path), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=tmp_path)
    with socket.socket(socket.AF_UNIX) as client:
        until(lambda: path.exists() and client.connect_ex(str(path)) == 0, "Redis is there")
    yield f"redis+unix://{path}"
    server.kill()
    server.wait()


def share(address, told):
    queue = dishrack.JoinableQueue(redis=(address, "dishes"))
    for _ in range(5):
        told.put(queue.get())
        queue.task_done()


def test_programs_share_a_queue_on_redis(redis):
    queue, told = dishrack.JoinableQueue(redis=(redis, "dishes")), dishrack.Queue()
    other = dishrack.Process(target=share, args=(redis, told))
    other.start()
    for n in range(5):
        queue.put(n)
    assert sorted(told.get(timeout=PATIENCE) for _ in range(5)) == list(range(5))
    queue.join(PATIENCE)
    other.join(PATIENCE)
    assert other.exitcode == 0


def test_a_redis_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(dishrack.SharedQueueError):
        dishrack.Queue(redis=(f"redis+unix://{tmp_path}/none", "dishes"))


def test_events_tell_what_happens_and_end_with_the_queue():
    queue, told = dishrack.JoinableQueue(), dishrack.Queue()
    seen = queue.events()
    consumer = dishrack.Process(
        target=get_and_tell, args=(queue, told), name="dryer", daemon=True
    )
    consumer.start()
    queue.put("cup")
    assert told.get(timeout=PATIENCE) == "cup"
    queue.join(PATIENCE)
    consumer.kill()
    consumer.join()
    queue.close()
    seen = list(seen)
    kinds = [type(event) for event in seen]
    assert kinds.index(events.WorkerStarted) < kinds.index(events.ItemStarted)
    assert kinds.index(events.ItemStarted) < kinds.index(events.ItemDone)
    (done,) = (event for event in seen if isinstance(event, events.ItemDone))
    assert (done.item, done.number, done.worker, done.pid) == ("item-1", 1, "dryer", consumer.pid)
    assert 0 <= done.duration < PATIENCE
    (exited,) = (event for event in seen if isinstance(event, events.WorkerExited))
    assert (exited.pid, exited.signal, exited.code) == (consumer.pid, "SIGKILL", None)
    assert [event.at for event in seen] == sorted(event.at for event in seen)


def test_events_of_a_dead_letter():
    queue = dishrack.JoinableQueue(max_attempts=1)
    seen = queue.events()
    dead_letter(queue, "cup")
    dead = next(event for event in seen if isinstance(event, events.ItemDead))
    assert (dead.number, dead.attempts, dead.cause) == (1, 1, "killed by SIGKILL")
    seen.close()
    assert list(seen) == []


def test_whoever_reads_events_slowly_holds_nothing_up():
    queue = dishrack.JoinableQueue()
    seen = queue.events()
    items = 60_000
    for n in range(items):
        queue.put(n)
        queue.get()
        queue.task_done()
    queue.close()
    *told, last = seen
    assert isinstance(last, events.EventsMissed)
    assert len(told) == 100_000 and len(told) + last.count == 2 * items


def test_an_event_that_is_waited_for_does_not_keep_the_program(tmp_path):
    queue = dishrack.JoinableQueue()
    seen = queue.events()
    assert seen.next(timeout=0.01) is None
    threading.Timer(0.05, queue.close).start()
    assert list(seen) == []


def test_a_running_call_can_be_cancelled():
    with dishrack.ProcessPoolExecutor(1) as executor:
        future = executor.submit(time.sleep, 600)
        until(future.running, "it runs")
        assert future.kill()
        until(future.done, "it is cancelled")
        assert future.cancelled()
        assert executor.submit(abs, -1).result(PATIENCE) == 1


def test_progress_goes_to_a_function():
    seen = []

    def show(done, total):
        seen.append((done, total))

    with dishrack.Pool(2) as pool:
        assert pool.map(abs, range(5), 2, progress=show) == [0, 1, 2, 3, 4]
        assert sorted(seen)[-1] == (5, 5) and len(seen) == 3
        seen.clear()
        assert list(pool.imap(abs, iter(range(3)), progress=show)) == [0, 1, 2]
        assert seen == [(1, None), (2, None), (3, None)]
        seen.clear()
        results = pool.imap(fail_at_two, range(4), progress=show)
        assert next(results) == 0 and next(results) == 1
        with pytest.raises(OSError):
            next(results)
        assert next(results) == 3
        assert seen[-1] == (4, 4)
    with dishrack.ProcessPoolExecutor(2) as executor:
        seen.clear()
        assert list(executor.map(abs, [-1, -2], progress=show)) == [1, 2]
        assert seen == [(1, 2), (2, 2)]


def fail_at_two(n):
    if n == 2:
        raise OSError("no water")
    return n


def test_progress_is_a_bar_of_tqdm_where_there_is_one(monkeypatch):
    bars = []

    class Bar:
        def __init__(self, total, desc, unit):
            self.total, self.desc, self.n, self.is_closed = total, desc, 0, False
            bars.append(self)

        def update(self, count):
            self.n += count

        def close(self):
            self.is_closed = True

    auto = types.ModuleType("tqdm.auto")
    auto.tqdm = Bar
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", auto)
    with dishrack.Pool(1) as pool:
        assert pool.map(abs, range(5), progress=True) == list(range(5))
        assert sum(pool.imap_unordered(abs, range(5), progress=True)) == 10
    assert [(bar.total, bar.desc, bar.n, bar.is_closed) for bar in bars] == [
        (5, "abs", 5, True)
    ] * 2


def test_a_stub_names_what_the_native_half_has():
    from dishrack import _native

    stub = pathlib.Path(dishrack.__file__).with_name("_native.pyi").read_text()
    for name, thing in vars(_native).items():
        if not name.startswith("_"):
            assert f"class {name}:" in stub or f"def {name}(" in stub, name
            for method in vars(thing) if isinstance(thing, type) else ():
                assert method.startswith("__") or method in stub, f"{name}.{method}"
