"""Ctrl-C: everything ends within a second, with one traceback, however busy the processes are."""

from __future__ import annotations

import os
import pty
import select
import signal
import time

import pytest
from conftest import PATIENCE, children_of, is_alive, until

#: What is promised. On a loaded machine it is tried again.
PROMISED = 1.0
TRIES = 5

KINDS = [
    "pool map",
    "pool imap",
    "pool join",
    "executor with",
    "executor alone",
    "executor map",
    "get",
    "put",
    "join",
    "process",
]


def read_until(terminal, word):
    """Reads what is shown on a terminal until that comes, or the end."""
    shown = b""
    deadline = time.monotonic() + PATIENCE
    while word not in shown:
        left = deadline - time.monotonic()
        assert left > 0 and select.select([terminal], [], [], left)[0], f"only {shown!r} came"
        try:
            more = os.read(terminal, 4096)
        except OSError:
            # Nobody has the other end any more.
            more = b""
        if not more:
            break
        shown += more
    return shown


def interrupt(program, way, *arguments):
    """Starts the program, interrupts it when its process is busy. Its exit code, what it has shown
    after that, and how long it took until nothing was left of it."""
    ours, theirs = pty.openpty()
    try:
        # A session leader gets the terminal that it opens.
        options = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        process = program("on_terminal.py", os.ttyname(theirs), "busy.py", *arguments, **options)
        os.close(theirs)
        theirs = None
        read_until(ours, b"begun")
        children = children_of(process.pid)
        assert children
        begin = time.monotonic()
        if way == "terminal":
            os.write(ours, b"\x03")
        else:
            process.send_signal(signal.SIGINT)
        shown = read_until(ours, b"nothing is like this")
        code = process.wait(PATIENCE)
        until(lambda: not any(map(is_alive, children)), "all end")
        return code, shown.decode(), time.monotonic() - begin
    finally:
        os.close(ours)
        if theirs is not None:
            os.close(theirs)


@pytest.mark.parametrize("way", ["terminal", "signal"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_ends_everything_with_one_traceback(program, kind, way):
    for how in ["sleeps", "loops"]:
        times = []
        while not times or times[-1] > PROMISED:
            code, shown, time_taken = interrupt(program, way, kind, how, "uncaught")
            assert code == -signal.SIGINT, shown
            assert shown.count("Traceback") == 1, shown
            assert shown.rstrip().endswith("KeyboardInterrupt"), shown
            times.append(time_taken)
            assert len(times) < TRIES, times


@pytest.mark.parametrize("kind", ["pool map", "executor with", "executor map", "get", "join", "process"])
def test_one_that_is_caught_ends_what_a_terminal_would_have_interrupted(program, kind):
    times = []
    while not times or times[-1] > PROMISED:
        code, shown, time_taken = interrupt(program, "signal", kind, "sleeps", "caught")
        assert (code, shown.count("Traceback")) == (3, 0), shown
        times.append(time_taken)
        assert len(times) < TRIES, times
