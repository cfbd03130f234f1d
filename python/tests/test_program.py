"""Whole programs: a guard that was forgotten, and Ctrl-C."""

from __future__ import annotations

import signal
import time

import pytest
from conftest import PATIENCE, children_of, until


def test_a_forgotten_guard_is_an_error_with_advice(program):
    process = program("unguarded.py")
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (0, "exit code 1\n")
    # The traceback shows the line that raises it, too.
    assert sum(line.startswith("RuntimeError:") for line in errors.splitlines()) == 1
    assert 'if __name__ == \'__main__\':' in errors
    until(lambda: not children_of(process.pid), "nothing is left")


@pytest.mark.parametrize("hears", ["hears", "deaf"])
def test_ctrl_c_ends_everything_with_one_traceback(program, hears):
    process = program("interrupted.py", hears)
    for _ in range(3):
        assert process.stdout.readline() == "drying cup\n"
    children = children_of(process.pid)
    assert len(children) >= 3
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE)
    # A second is promised; a loaded machine gets more.
    assert time.monotonic() - begin < 10
    assert process.returncode == -signal.SIGINT
    assert (output, errors.count("Traceback")) == ("", 1)
    assert errors.endswith("KeyboardInterrupt\n")
