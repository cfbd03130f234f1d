"""The examples in the docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import dishrack
import pytest

MODULES = [
    name
    for _, name, _ in pkgutil.iter_modules(dishrack.__path__, "dishrack.")
    if name not in ("dishrack._native", "dishrack.__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(name):
    pytest.importorskip("joblib") if name == "dishrack.joblib" else None
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_what_people_use_has_examples():
    finder = doctest.DocTestFinder(recurse=False)
    for cls in (
        dishrack.JoinableQueue,
        dishrack.Queue,
        dishrack.Process,
        dishrack.Pool,
        dishrack.ProcessPoolExecutor,
        dishrack.Supervisor,
    ):
        assert any(test.examples for test in finder.find(cls)), cls
