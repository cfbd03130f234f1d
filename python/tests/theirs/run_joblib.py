#!/usr/bin/env python3
"""Runs joblib's own tests of a backend, from the installed joblib, against that of dishrack.

    python run_joblib.py [ARGUMENTS OF PYTEST]

What is out of scope is in a table of docs/python-tests.md; see joblib_plugin.py. Exit code: that of pytest.
"""

import importlib.util
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
path = importlib.util.find_spec("joblib.test.test_parallel").origin
words = ["--quiet", "-p", "no:cacheprovider", "-p", "joblib_plugin", "-W", "ignore::pytest.PytestWarning"]
sys.exit(pytest.main([*words, path, *sys.argv[1:]]))
