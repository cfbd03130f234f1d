"""CPython's own tests of `multiprocessing` and of the executors, made into classes that test another module.

Children import this module too, because the functions that they run are methods of these classes. So what it
replaces is replaced there as well. The tests themselves are those of the `test` package of the interpreter
that runs this; nothing of them is copied here.

    CPYTHON_TESTS_MODULE=dishrack CPYTHON_TESTS_METHOD=forkserver python -m unittest cpython_suites.TestQueue
"""

import concurrent.futures
import importlib
import multiprocessing
import os
import sys
import types
import unittest

from test import _test_multiprocessing as processes

try:
    from test.test_concurrent_futures import executor as executors
    from test.test_concurrent_futures import (
        test_as_completed,
        test_deadlock,
        test_init,
        test_process_pool,
        test_shutdown,
        test_wait,
        util,
    )

    EXECUTORS = [
        executors,
        test_deadlock,
        test_init,
        test_process_pool,
        test_shutdown,
        test_wait,
        test_as_completed,
        util,
    ]
except ImportError:
    # One file, until Python 3.12.
    from test import test_concurrent_futures

    EXECUTORS = [test_concurrent_futures]

MODULE = importlib.import_module(os.environ.get("CPYTHON_TESTS_MODULE", "dishrack"))
METHOD = os.environ.get("CPYTHON_TESTS_METHOD", "forkserver")


class Replaced(types.ModuleType):
    """A module, some of whose names are another one's."""

    def __init__(self, module, **names):
        super().__init__(module.__name__)
        self.__dict__.update(names)
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)


def with_ours(run):
    """Lets programs that a test runs import their executor and their context from the other module, too."""

    def run_with_ours(*arguments, **environment):
        for module in ("concurrent.futures", "multiprocessing"):
            words = [f"from {name} import" for name in (module, MODULE.__name__)]
            arguments = [argument.replace(*words) for argument in arguments]
        return run(*arguments, **environment)

    return run_with_ours


NAMES = [
    "Process",
    "Queue",
    "JoinableQueue",
    "SimpleQueue",
    "Pool",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
    "BoundedSemaphore",
    "Condition",
    "Barrier",
    "Pipe",
    "Value",
    "Array",
    "RawValue",
    "RawArray",
    "current_process",
    "parent_process",
    "active_children",
    "set_executable",
    "get_context",
    "get_start_method",
]
# Whatever a test does not say otherwise, processes are started by METHOD.
CONTEXT = MODULE.get_context(METHOD)
OURS = {name: getattr(CONTEXT, name) for name in NAMES}

if MODULE is not multiprocessing:
    QUEUES = Replaced(
        multiprocessing.queues, Queue=MODULE.Queue, JoinableQueue=MODULE.JoinableQueue
    )
    processes.multiprocessing = Replaced(multiprocessing, **OURS, queues=QUEUES)
    FUTURES = Replaced(concurrent.futures, ProcessPoolExecutor=MODULE.ProcessPoolExecutor)
    for module in EXECUTORS:
        if hasattr(module, "futures"):
            module.futures = FUTURES
        if hasattr(module, "mp"):
            module.mp = Replaced(multiprocessing, get_context=MODULE.get_context)
        if hasattr(module, "assert_python_ok"):
            module.assert_python_ok = with_ours(module.assert_python_ok)


class Mixin:
    """What the tests' classes are given in place of CPython's own mixin."""

    TYPE = "processes"
    connection = multiprocessing.connection


for name, value in OURS.items():
    setattr(Mixin, name, staticmethod(value))
# Subclassed and looked at by the tests, so it is the class itself.
Mixin.Process = OURS["Process"]


def adopt(name, *bases):
    """Makes a class of tests in this module, where children find it."""
    made = type(name, bases, {"__module__": __name__, "__qualname__": name})
    globals()[name] = made


for name in [
    "_TestQueue",
    "_TestPool",
    "_TestPoolWorkerErrors",
    "_TestPoolWorkerLifetime",
    "_TestProcess",
    "_TestSubclassingProcess",
]:
    adopt(name[1:], getattr(processes, name), Mixin, unittest.TestCase)

adopt("SimpleQueue", processes.TestSimpleQueue)

# The child class of `_TestSubclassingProcess`.
if MODULE is not multiprocessing:
    processes._UpperCaser.__bases__ = (OURS["Process"],)


def find(name):
    """A class of the executors' tests, in whichever of their modules it is."""
    return next(getattr(module, name) for module in EXECUTORS if hasattr(module, name))


class ExecutorMixin(find("ExecutorMixin")):
    executor_type = getattr(MODULE, "ProcessPoolExecutor", concurrent.futures.ProcessPoolExecutor)
    ctx = METHOD

    def get_context(self):
        return MODULE.get_context(METHOD)


for name in [
    "ProcessPoolExecutorTest",
    "ProcessPoolShutdownTest",
    "WaitTests",
    "ProcessPoolWaitTests",
    "AsCompletedTests",
    "ExecutorDeadlockTest",
]:
    try:
        base = find(name)
    except StopIteration:
        continue
    adopt(name if name.endswith("Tests") else name + "s", base, ExecutorMixin, find("BaseTestCase"))
for name in ["InitializerMixin", "FailingInitializerMixin"]:
    adopt(name.replace("Mixin", "Tests"), find(name), ExecutorMixin, find("BaseTestCase"))


def setUpModule():
    if MODULE is multiprocessing:
        multiprocessing.set_start_method(METHOD, force=True)
