"""The programs of docs/python.md and docs/python-queues.md, run as they stand there."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import PATIENCE

DOCS = pathlib.Path(__file__).parents[2] / "docs"

#: The pages, with the programs in them that print nothing.
PAGES = {"python.md": 1, "python-queues.md": 0}
RECIPE = re.compile(r"^### (.+?)\n.*?^```python\n(.+?)^```\n+^```text\n(.+?)^```\n", re.M | re.S)

#: What a recipe needs beside this package, by words in it.
NEEDS = {"joblib": "joblib", '"-c"': "cloudpickle"}


def recipes():
    for page, silent in PAGES.items():
        text = (DOCS / page).read_text(encoding="utf-8")
        found = RECIPE.findall(text)
        # None has escaped, for want of an output.
        assert text.count("```python") == len(found) + silent
        assert len(found) >= (10 if page == "python.md" else 1)
        for name, program, expected in found:
            yield pytest.param(program, expected, id=f"{page}: {name}")


@pytest.mark.parametrize("program, expected", recipes())
def test_it_prints_what_it_says(program, expected, tmp_path):
    for words, module in NEEDS.items():
        if words in program and importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    script = tmp_path / "recipe.py"
    script.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=2 * PATIENCE,
    )
    assert (done.returncode, done.stdout) == (0, expected)
