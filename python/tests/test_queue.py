"""Queues among threads of one process."""

from __future__ import annotations

import queue
import threading

import dishrack
import pytest


@pytest.fixture
def another_thread():
    """Somebody who could still get: without one a full queue is an error at once."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield
    end.set()
    thread.join()


def test_items_come_in_order_and_join_waits_for_all():
    rack = dishrack.JoinableQueue()
    dried = []

    def dry():
        while (dish := rack.get()) is not None:
            dried.append(dish)
            rack.task_done()
        rack.task_done()

    thread = threading.Thread(target=dry)
    thread.start()
    dishes = ["cup", ("plate", 2), {"bowl": b"x" * 100_000}]
    for dish in dishes:
        rack.put(dish)
    rack.put(None)
    rack.join()
    assert dried == dishes
    thread.join()


def test_full_and_empty_are_the_standard_exceptions():
    rack = dishrack.Queue(2)
    with pytest.raises(queue.Empty):
        rack.get_nowait()
    with pytest.raises(dishrack.Empty):
        rack.get(timeout=0.01)
    rack.put(1)
    rack.put_nowait(2)
    assert rack.full() and rack.qsize() == 2 and not rack.empty()
    with pytest.raises(queue.Full):
        rack.put(3, timeout=0.01)
    with pytest.raises(dishrack.Full):
        rack.put_nowait(3)
    assert [rack.get(), rack.get()] == [1, 2]
    assert rack.empty()


def test_a_closed_handle_is_a_value_error():
    rack = dishrack.Queue()
    rack.close()
    rack.join_thread()
    for use in (rack.get, lambda: rack.put(1)):
        with pytest.raises(ValueError, match="is closed"):
            use()


def test_a_task_that_was_not_got_cannot_be_done():
    rack = dishrack.JoinableQueue()
    rack.put(1)
    rack.get()
    rack.task_done()
    with pytest.raises(ValueError, match="too many times"):
        rack.task_done()


def test_another_thread_may_acknowledge_what_one_that_has_ended_got(another_thread):
    rack = dishrack.JoinableQueue()
    rack.put("cup")
    got = []
    thread = threading.Thread(target=lambda: got.append(rack.get()))
    thread.start()
    thread.join()
    assert got == ["cup"]
    with pytest.raises(dishrack.TimeoutError):
        rack.join(0.05)
    rack.task_done()
    rack.join()


@pytest.mark.parametrize("length", [0, 1, 100, 255, 256, 70_000])
def test_bytes_of_all_lengths_come_as_they_were(length):
    queue = dishrack.JoinableQueue()
    dots = b"." * length
    for item in (dots, Label(dots), bytearray(dots), dots.decode(), (dots,)):
        queue.put(item)
        arrived = queue.get()
        queue.task_done()
        assert (type(arrived), arrived) == (type(item), item)


class Label(bytes):
    pass


def test_an_object_may_pickle_another_one_while_it_is_pickled():
    queue = dishrack.JoinableQueue()
    queue.put([Nested(), "behind"])
    nested, behind = queue.get()
    assert (nested, behind) == (("inner", [b"x" * 300]), "behind")
    queue.task_done()
    queue.join()


class Nested:
    def __reduce__(self):
        queue = dishrack.Queue()
        queue.put([b"x" * 300])
        return pair, ("inner", queue.get())


def pair(one, other):
    return one, other


def test_what_cannot_be_pickled_is_an_error_of_put_and_counts_nowhere():
    rack = dishrack.JoinableQueue()
    with pytest.raises(Exception, match="pickle"):
        rack.put(threading.Lock())
    assert rack.empty()
    rack.join()


def test_a_queue_travels_in_an_item_and_nowhere_else():
    import pickle

    replies = dishrack.Queue()
    questions = dishrack.SimpleQueue()
    questions.put((7, replies))
    number, reply_to = questions.get()
    reply_to.put(number * 2)
    assert replies.get() == 14
    with pytest.raises(RuntimeError, match="when that is started"):
        pickle.dumps(replies)


def test_a_join_that_nobody_can_end_is_an_error():
    rack = dishrack.JoinableQueue()
    rack.put("cup")
    if threading.active_count() == 1:
        with pytest.raises(dishrack.NoWorkersLeft, match="nobody ever worked"):
            rack.join()
    rack.get()
    rack.task_done()
