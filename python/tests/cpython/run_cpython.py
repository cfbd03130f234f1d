#!/usr/bin/env python3
"""Runs CPython's own tests, from the installed `test` package, against the classes of dishrack.

    python run_cpython.py                            all classes, with forkserver
    python run_cpython.py --method spawn TestQueue   some of them
    python run_cpython.py --table                    and a table of all tests
    python run_cpython.py --module multiprocessing   the same tests on what they were written for

Each class runs in a process of its own, and each test has a deadline. A test that is out of scope has its
reason in OUT_OF_SCOPE below and is not run. Exit code: 1 if a test in scope fails, or hangs. Needs the `test`
package of the interpreter: on Debian that is libpython3.11-testsuite.
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

HERE = pathlib.Path(__file__).resolve().parent
# Seconds in which a class must come to its next test's end.
DEADLINE = 120

# Why a test is not for us, by class and name.
OUT_OF_SCOPE = {}


class Told(unittest.TestResult):
    """Prints a line of JSON for each test."""

    def startTest(self, test):
        super().startTest(test)
        self.tell(test, "begins")

    def tell(self, test, end, why=""):
        name = test.id().rpartition(".")[2]
        print(json.dumps({"test": name, "end": end, "why": why}), file=OUT, flush=True)

    def addSuccess(self, test):
        self.tell(test, "passes")

    def addError(self, test, error):
        self.tell(test, "fails", self._exc_info_to_string(error, test))

    addFailure = addError

    def addSkip(self, test, reason):
        self.tell(test, "skipped", reason)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.addError(test, error)


def run_inside(name, tests):
    """Runs a class here, and tells of each test on the descriptor that was stdout."""
    global OUT
    OUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import cpython_suites

    loader = unittest.TestLoader()
    loader.suiteClass = unittest.TestSuite
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


def run_class(name, tests):
    """Yields the end of each test; one that hangs is killed with its class, which goes on behind it."""
    left = list(tests)
    while left:
        command = [sys.executable, __file__, "--inside", name, *left]
        with subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
            lines = Lines(process)
            running = None
            while (line := lines.next(DEADLINE)) is not None:
                told = json.loads(line)
                if told["end"] == "begins":
                    running = told["test"]
                    continue
                running = None
                left.remove(told["test"])
                yield told
            is_late = lines.is_late
            os.killpg(process.pid, 9)
        if not left or (running is None and not is_late):
            for test in left:
                yield {"test": test, "end": "fails", "why": lines.stderr()}
            return
        hung = running or left[0]
        left.remove(hung)
        yield {"test": hung, "end": "hangs" if is_late else "fails", "why": lines.stderr()}


class Lines:
    """The lines of a process, each within a deadline."""

    def __init__(self, process):
        self.queue = queue.Queue()
        self.is_late = False
        self.errors = []

        def read():
            for line in process.stdout:
                self.queue.put(line)
            self.queue.put(None)

        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=lambda: self.errors.extend(process.stderr), daemon=True).start()

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
    parser.add_argument("--table", action="store_true", help="print a table of all tests")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        run_inside(chosen.classes[0], chosen.classes[1:])
        return 0
    os.environ.update(CPYTHON_TESTS_MODULE=chosen.module, CPYTHON_TESTS_METHOD=chosen.method)
    counts = {}
    rows = []
    for name, tests in names_of(chosen.module).items():
        if chosen.classes and name not in chosen.classes:
            continue
        ours = [test for test in tests if f"{name}.{test}" not in OUT_OF_SCOPE]
        rows += [(name, test, "out of scope", OUT_OF_SCOPE[f"{name}.{test}"]) for test in tests if test not in ours]
        for told in run_class(name, ours):
            rows.append((name, told["test"], told["end"], told["why"]))
            if told["end"] in ("fails", "hangs"):
                print(f"{name}.{told['test']} {told['end']}:\n{told['why']}", file=sys.stderr, flush=True)
    for _, _, end, _ in rows:
        counts[end] = counts.get(end, 0) + 1
    if chosen.table:
        print("| class | test | |\n| --- | --- | --- |")
        for name, test, end, why in sorted(rows):
            print(f"| {name} | {test} | {end}{': ' + why if end in ('out of scope', 'skipped') else ''} |")
    words = ", ".join(f"{count} {end}" for end, count in sorted(counts.items()))
    print(f"Python {platform.python_version()}, {chosen.method}: {words}")
    return 1 if counts.get("fails") or counts.get("hangs") else 0


if __name__ == "__main__":
    sys.exit(main())
