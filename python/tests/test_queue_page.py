"""The programs of docs/python-queues.md, run as they stand there."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
from conftest import PATIENCE

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "python-queues.md"
PROGRAM = re.compile(r"^### (.+?)\n.*?^```python\n(.+?)^```\n+^```text\n(.+?)^```\n", re.M | re.S)


def programs():
    text = PAGE.read_text(encoding="utf-8")
    found = PROGRAM.findall(text)
    # None has escaped, for want of an output.
    assert text.count("```python") == len(found) > 0
    return found


@pytest.mark.parametrize("program, expected", [pytest.param(*p[1:], id=p[0]) for p in programs()])
def test_it_prints_what_it_says(program, expected, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, expected)
