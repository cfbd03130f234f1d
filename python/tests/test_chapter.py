"""The chapter's program, with one line changed: a washer, a dryer, and a queue that is joined."""

from __future__ import annotations

import pathlib

from conftest import PATIENCE, children_of, until


def names_of(pids):
    for pid in pids:
        try:
            words = pathlib.Path("/proc", str(pid), "cmdline").read_bytes()
            comm = pathlib.Path("/proc", str(pid), "comm").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield words.rstrip(b"\0").decode().split(" ")[0], comm.strip()


def test_its_dishes_are_washed_here_and_dried_in_a_process_with_a_name(program):
    process = program("dishes.py")
    until(
        lambda: ("Process-1", "Process-1") in names_of(children_of(process.pid)),
        "ps shows the dryer by its name",
    )
    dryers = children_of(process.pid)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    lines = [line.split() for line in output.splitlines()]
    for verb, pids in [("Washing", {process.pid}), ("Drying", dryers)]:
        told = [line for line in lines if line[0] == verb]
        assert [line[1] for line in told] == ["dish-1", "dish-2", "dish-3", "dish-4"]
        assert {int(line[-1]) for line in told} <= pids
    until(lambda: not children_of(process.pid), "the dryer ends with the program")
