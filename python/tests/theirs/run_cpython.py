#!/usr/bin/env python3
"""Runs CPython's own tests, from the installed `test` package, against the classes of dishrack.

    python run_cpython.py                            all classes, with forkserver
    python run_cpython.py --method spawn TestQueue   some of them
    python run_cpython.py --all                      and an end for each test
    python run_cpython.py --module multiprocessing   the same tests on what they were written for

Each class runs in a process of its own, and each test has a deadline. What is out of scope is in a table of
docs/python-tests.md, by class and name: such a test is run as well, alone, and must not pass. Exit code: 1 if a
test in scope fails or hangs, or if one out of scope passes. Needs the `test` package of the interpreter: on
Debian that is libpython3.11-testsuite.
"""

import argparse
import json
import os
import pathlib
import platform
import queue
import subprocess
import sys
import threading
import unittest

from out_of_scope import fault, reasons

HERE = pathlib.Path(__file__).resolve().parent
# Seconds in which a class must come to its next test's end; and one that is out of scope to its own.
DEADLINE = 120
SHORT_DEADLINE = 20


class Told(unittest.TestResult):
    """Prints a line of JSON when a test begins, and when it has ended."""

    def startTest(self, test):
        super().startTest(test)
        self.end, self.why = "passes", ""
        self.tell(test, "begins")

    def stopTest(self, test):
        super().stopTest(test)
        self.tell(test, self.end)

    def tell(self, test, end):
        name = test.id().rpartition(".")[2]
        print(json.dumps({"test": name, "end": end, "why": self.why}), file=OUT, flush=True)

    def addError(self, test, error):
        # A test may fail in more than one of its parts.
        self.end, self.why = "fails", self.why + self._exc_info_to_string(error, test)

    addFailure = addError

    def addSkip(self, test, reason):
        self.end, self.why = "skipped", reason

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.addError(test, error)


def run_inside(name, tests):
    """Runs a class here, and tells of each test on the descriptor that was stdout."""
    global OUT
    OUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import cpython_suites

    chosen = [getattr(cpython_suites, name)(test) for test in tests]
    cpython_suites.setUpModule()
    unittest.TestSuite(chosen).run(Told())


def names_of(module):
    """The classes, and the tests of each, in a process of its own: the import replaces names."""
    code = (
        "import json, unittest, cpython_suites as s\n"
        "load = unittest.TestLoader().getTestCaseNames\n"
        "kinds = [v for v in vars(s).values() if isinstance(v, type) and issubclass(v, unittest.TestCase)]\n"
        "print(json.dumps({v.__name__: load(v) for v in kinds if v.__module__ == s.__name__}))"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=HERE, stdout=subprocess.PIPE, check=True)
    return json.loads(told.stdout)


def run_class(name, tests, deadline):
    """Yields the end of each test; one that hangs is killed with its class, which goes on behind it."""
    left = list(tests)
    while left:
        command = [sys.executable, __file__, "--inside", name, *left]
        pipe = subprocess.PIPE
        # Its streams are closed by the threads that read them, when nobody writes any more.
        process = subprocess.Popen(
            command, cwd=HERE, stdout=pipe, stderr=pipe, start_new_session=True
        )
        lines = Lines(process)
        running = None
        while (line := lines.next(deadline)) is not None:
            told = json.loads(line)
            if told["end"] == "begins":
                running = told["test"]
                continue
            running = None
            left.remove(told["test"])
            yield told
        is_late = lines.is_late
        os.killpg(process.pid, 9)
        process.wait()
        if not left or (running is None and not is_late):
            for test in left:
                yield {"test": test, "end": "fails", "why": lines.stderr()}
            return
        hung = running or left[0]
        left.remove(hung)
        yield {"test": hung, "end": "hangs" if is_late else "fails", "why": lines.stderr()}


def run_tests(name, tests, not_ours):
    """Yields the end of each test of a class; those that are out of scope run alone."""
    alone = [test for test in tests if f"{name}.{test}" in not_ours]
    yield from run_class(name, [test for test in tests if test not in alone], DEADLINE)
    for test in alone:
        yield from run_class(name, [test], SHORT_DEADLINE)


class Lines:
    """The lines of a process, each within a deadline."""

    def __init__(self, process):
        self.queue = queue.Queue()
        self.is_late = False
        self.errors = []

        def read():
            with process.stdout as lines:
                for line in lines:
                    self.queue.put(line)
            self.queue.put(None)

        def read_errors():
            with process.stderr as lines:
                self.errors.extend(lines)

        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=read_errors, daemon=True).start()

    def next(self, seconds):
        try:
            return self.queue.get(timeout=seconds)
        except queue.Empty:
            self.is_late = True
            return None

    def stderr(self):
        return b"".join(self.errors[-20:]).decode(errors="replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("classes", nargs="*", metavar="CLASS")
    parser.add_argument("--method", default="forkserver", choices=["forkserver", "spawn", "fork"])
    parser.add_argument("--module", default="dishrack")
    parser.add_argument("--all", action="store_true", help="print the end of each test")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        run_inside(chosen.classes[0], chosen.classes[1:])
        return 0
    os.environ.update(CPYTHON_TESTS_MODULE=chosen.module, CPYTHON_TESTS_METHOD=chosen.method)
    not_ours = reasons() if chosen.module == "dishrack" else {}
    ends, is_wrong = [], False
    for name, tests in names_of(chosen.module).items():
        if chosen.classes and name not in chosen.classes:
            continue
        for told in run_tests(name, tests, not_ours):
            full = f"{name}.{told['test']}"
            wrong = fault(full, told["end"], not_ours)
            if wrong:
                is_wrong = True
                print(f"{full} {wrong}:\n{told['why']}", file=sys.stderr, flush=True)
            is_other = full in not_ours and told["end"] != "skipped"
            ends.append("out of scope" if is_other else told["end"])
            if chosen.all:
                print(f"{full}: {ends[-1]}", flush=True)
    words = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
    print(f"CPython's tests, {platform.python_version()}, {chosen.method}: {words}")
    return 1 if is_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
