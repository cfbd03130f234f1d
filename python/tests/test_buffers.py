"""Large buffers: they are written once and read in place, and nobody sees what another writes there."""

from __future__ import annotations

import array
import gc
import os
import pathlib
import pickle
import signal

import dishrack
import pytest
from conftest import PATIENCE, until

MIB = 1 << 20


class Picture:
    """An object of one buffer, which protocol 5 leaves out of the pickle."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __reduce_ex__(self, protocol):
        assert protocol >= 5
        return type(self), (pickle.PickleBuffer(self.pixels),)


def checksum(buffer):
    return sum(memoryview(buffer).cast("B")[:: 64 * 1024])


def private_bytes_of(pid="self"):
    """The bytes of memfds that are mapped by this process for itself alone."""
    total = 0
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        place, access, *_ = line.split()
        if "memfd:dishrack" in line and access == "rw-p":
            start, end = (int(one, 16) for one in place.split("-"))
            total += end - start
    return total


SOURCES = [
    bytearray(b"x" * (3 * MIB)),
    memoryview(bytearray(b"x" * MIB)),
    array.array("d", [1.5] * MIB),
    b"x" * MIB,
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda one: type(one).__name__)
def test_a_buffer_comes_as_it_was_and_is_writable_where_the_source_was(source):
    queue = dishrack.JoinableQueue()
    queue.put(Picture(source))
    arrived = queue.get().pixels
    assert bytes(arrived) == bytes(memoryview(source).cast("B"))
    assert arrived.readonly == isinstance(source, bytes)
    if not arrived.readonly:
        arrived[0] = 7
        assert arrived[0] == 7 and memoryview(source).cast("B")[0] != 7
    queue.task_done()
    queue.join()


def test_queues_functions_without_a_name_and_buffers_travel_together():
    pytest.importorskip("cloudpickle")
    questions, answers = dishrack.SimpleQueue(), dishrack.SimpleQueue()
    picture = Picture(bytearray(b"x" * MIB))
    questions.put((lambda pixels: len(pixels) + 1, picture, answers))
    measure, arrived, reply_to = questions.get()
    reply_to.put(measure(arrived.pixels))
    assert answers.get() == MIB + 1


def test_a_large_pickle_is_read_where_it_lies():
    texts = ["dish" * MIB, "cup" * MIB]
    with dishrack.Pool(1) as pool:
        assert pool.apply(swap, (texts,)) == texts[::-1]
        assert pool.apply(bytes, (b"x" * 5 * MIB,)) == b"x" * 5 * MIB


def swap(texts):
    return texts[::-1]


def test_small_buffers_stay_in_the_pickle():
    queue = dishrack.Queue()
    queue.put([Picture(bytearray(b"small")), Picture(bytearray(MIB)), Picture(b"")])
    small, large, empty = queue.get()
    assert (bytes(small.pixels), len(large.pixels), bytes(empty.pixels)) == (b"small", MIB, b"")
    assert isinstance(small.pixels, bytearray)


def test_a_view_outlives_its_item_and_its_memory_goes_with_the_last_one():
    pool = dishrack.Pool(1)
    before = private_bytes_of()
    part = pool.apply(make_picture, (8 * MIB,)).pixels[5 * MIB :]
    pool.terminate()
    pool.join()
    assert private_bytes_of() >= before + 8 * MIB
    assert part[0] == 3 and checksum(part) == 3 * 48
    part[0] = 4
    del part
    gc.collect()
    assert private_bytes_of() == before


def make_picture(length):
    return Picture(bytearray(b"\3") * length)


def test_arguments_and_results_of_calls_go_beside_the_pickle():
    with dishrack.Pool(2) as pool:
        pictures = [make_picture(size) for size in (MIB, 5 * MIB, 100)]
        for picture in pool.map(brighten, pictures, chunksize=1):
            assert set(bytes(picture.pixels[:100])) == {4}
        assert all(set(picture.pixels) == {3} for picture in pictures)
    with dishrack.ProcessPoolExecutor(1) as executor:
        future = executor.submit(brighten, make_picture(20 * MIB))
        assert checksum(future.result(PATIENCE).pixels) == 4 * 20 * 16


def brighten(picture):
    pixels = picture.pixels
    if len(pixels) > 20_000:
        assert pixels.readonly is False and private_bytes_of() >= len(pixels)
    pixels[:] = bytes(pixels).translate(bytes((n + 1) % 256 for n in range(256)))
    return picture


def read_and_write(queue, told, keeps):
    kept = []
    while True:
        number, picture = queue.get()
        seen = bytes(picture.pixels)
        picture.pixels[:] = b"\xff" * len(picture.pixels)
        if number == 3 and not os.path.exists(keeps):
            pathlib.Path(keeps).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        kept.append(picture)
        queue.task_done()
        told.put((number, len(seen), set(seen)))
        assert all(set(one.pixels[:1000]) == {255} for one in kept[-3:])


def test_a_killed_consumers_picture_goes_to_another_as_it_was(tmp_path):
    shared = set(os.listdir("/dev/shm"))
    queue, told = dishrack.JoinableQueue(), dishrack.Queue()
    consumers = [
        dishrack.Process(
            target=read_and_write, args=(queue, told, str(tmp_path / "died")), daemon=True
        )
        for _ in range(2)
    ]
    for consumer in consumers:
        consumer.start()
    for number in range(8):
        queue.put((number, Picture(bytearray([number]) * (2 * MIB))))
    queue.join(PATIENCE)
    seen = sorted(told.get(timeout=PATIENCE) for _ in range(8))
    assert seen == [(number, 2 * MIB, {number}) for number in range(8)]
    # Its item may have gone on before it is known how it ended.
    until(lambda: any(one.exitcode == -signal.SIGKILL for one in consumers), "one has died")
    assert any(one.exitcode is None for one in consumers)
    for consumer in consumers:
        consumer.kill()
        consumer.join()
    assert set(os.listdir("/dev/shm")) <= shared


def test_a_dead_letter_has_its_buffers():
    queue = dishrack.JoinableQueue(max_attempts=1)
    queue.put(Picture(bytearray(b"x" * MIB)))
    consumer = dishrack.Process(target=get_and_die, args=(queue,))
    consumer.start()
    consumer.join()
    queue.join(PATIENCE)
    (letter,) = queue.take_dead_letters()
    assert bytes(letter.item.pixels) == b"x" * MIB


def get_and_die(queue):
    queue.get()
    os.kill(os.getpid(), signal.SIGKILL)


def test_arrays_of_numpy_are_read_in_place():
    numpy = pytest.importorskip("numpy")
    with dishrack.Pool(1) as pool:
        ones = numpy.ones((512, 1024))
        assert pool.apply(numpy.sum, (ones,)) == 512 * 1024
        for order in "CF":
            source = numpy.asarray(numpy.arange(1_000_000.0).reshape(1000, 1000), order=order)
            twice = pool.apply(double_in_place, (source,))
            assert twice.flags.writeable and twice.flags.aligned
            assert (twice == source * 2).all() and source[0, 1] == 1.0
        fixed = numpy.ones(MIB)
        fixed.flags.writeable = False
        assert pool.apply(is_writeable, (fixed,)) is False
        assert pool.apply(numpy.sum, (ones[::2, ::2],)) == 256 * 512


def double_in_place(array):
    assert array.flags.writeable and array.flags.aligned and not array.flags.owndata
    assert private_bytes_of() >= array.nbytes
    array *= 2
    return array


def is_writeable(array):
    return array.flags.writeable
