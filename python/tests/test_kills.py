"""Kills of everything, many times: nothing is lost, hangs or is left. DISHRACK_KILLS=1000 tries more."""

from __future__ import annotations

import json
import os

from conftest import PATIENCE

KILLS = int(os.environ.get("DISHRACK_KILLS", "40"))


def test_nothing_is_lost_and_nothing_is_left(program):
    process = program("kills.py", str(KILLS))
    output, errors = process.communicate(timeout=PATIENCE + KILLS)
    assert (process.returncode, errors) == (0, "")
    figures = json.loads(output)
    print(output)
    assert figures["in all"] >= KILLS
    assert set(figures["kills"]) == {
        "busy worker",
        "idle worker",
        "process with an item",
        "fork server",
        "program",
    }
    faults = ["lost", "hung", "orphans", "files", "shared memory"]
    assert {fault: figures[fault] for fault in faults} == dict.fromkeys(faults, 0)
