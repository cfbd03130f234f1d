"""For pytest: lets joblib's own tests of loky be tests of this package's backend.

It stands in loky's place wherever joblib looks for that, and of the tests those are left that name loky.
Those that are out of scope run as well, and the run fails if one of them passes.
"""

import inspect
import signal

import joblib
import joblib._parallel_backends
import joblib.parallel
import pytest

from dishrack.joblib import DishrackBackend
from out_of_scope import fault, reasons

# Seconds that a test may take.
DEADLINE = 120

joblib.parallel.BACKENDS["loky"] = joblib.parallel.BACKENDS.pop("dishrack")
# Where the tests look for the class. What joblib does for its own loky is not for others.
joblib._parallel_backends.LokyBackend = DishrackBackend


def names_loky(item):
    parameters = getattr(item, "callspec", None)
    values = parameters.params.values() if parameters else ()
    others = ("multiprocessing", "threading", "sequential")
    if any(isinstance(value, DishrackBackend) or value == "loky" for value in values):
        return True
    if any(value in others for value in values if isinstance(value, str)):
        return False
    return "loky" in inspect.getsource(item.function)


def pytest_collection_modifyitems(config, items):
    others = [item for item in items if not names_loky(item)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if names_loky(item)]


class Late(Exception):
    pass


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    def late(*_):
        raise Late(f"it has taken more than {DEADLINE} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(DEADLINE)
    try:
        return (yield)
    finally:
        signal.alarm(0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        end = {"passed": "passes", "failed": "fails", "skipped": "skipped"}[report.outcome]
        not_ours = reasons()
        name = f"joblib.{item.name if f'joblib.{item.name}' in not_ours else item.originalname}"
        wrong = fault(name, end, not_ours)
        if wrong and end == "passes":
            report.outcome, report.longrepr = "failed", f"{item.name} {wrong}"
        elif end == "fails" and not wrong:
            report.outcome, report.wasxfail = "skipped", not_ours[name]
    return report
