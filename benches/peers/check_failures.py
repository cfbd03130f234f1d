#!/usr/bin/env python3
"""Checks of failures.py: that it tells the truth and leaves nothing behind.

    python3 benches/peers/check_failures.py            about 20 seconds

What this is not: a check of Python. Which of the nine fail is for failures.py to say, but the
Pythons up to 3.13 fail in all of them, and a table that says otherwise is looked at here.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

SCRIPT = pathlib.Path(__file__).with_name("failures.py")

# Makes put() serialize the item first, so that r4 does not fail any more.
R4_REPAIRED = """
import multiprocessing.queues, pickle
broken_put = multiprocessing.queues.JoinableQueue.put
def put(self, item, *args, **options):
    pickle.dumps(item)
    broken_put(self, item, *args, **options)
multiprocessing.queues.JoinableQueue.put = put
"""


class Failures(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        # Every process that failures.py starts inherits the mark, and is found by it.
        self.mark = uuid.uuid4().hex
        self.shared_memory = set(os.listdir("/dev/shm"))

    def start(self, *options, **more):
        environment = dict(os.environ, FAILURES_MARK=self.mark, TMPDIR=self.folder.name, **more)
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def run_script(self, *options, **more):
        """Its exit code and its stdout, after a look at what it left behind."""
        process = self.start(*options, **more)
        out, err = process.communicate()
        self.assertEqual(err, "")
        self.expect_nothing_left()
        return process.returncode, out

    def marked(self):
        """The processes that live and have our mark."""
        found = []
        for environ in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in environ.read_bytes():
                    found.append(environ.parent.name)
            except OSError:
                pass  # It ended meanwhile, or is not ours.
        return found

    def expect_nothing_left(self):
        self.assertEqual(self.marked(), [])
        self.assertEqual(os.listdir(self.folder.name), [])
        self.assertEqual(set(os.listdir("/dev/shm")) - self.shared_memory, set())

    def test_all_nine_fail_and_nothing_is_left(self):
        code, out = self.run_script("--trials", "1", "--deadline", "1.5", "--json")
        reports = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([report["case"] for report in reports], [f"r{n}" for n in range(1, 10)])
        for report in reports:
            self.assertEqual(report["verdict"], "FAILS", report)
        self.assertEqual(code, 0)

    def test_the_table_ends_with_the_sum(self):
        code, out = self.run_script("--case", "r7", "--trials", "2")
        self.assertIn("FAILS 2 of 2", out)
        self.assertTrue(out.endswith("multiprocessing: 1 of 1 fail\n"), out)
        self.assertEqual(code, 0)

    def test_what_does_not_fail_is_said_to_hold(self):
        with tempfile.TemporaryDirectory() as repaired:
            pathlib.Path(repaired, "sitecustomize.py").write_text(R4_REPAIRED)
            options = {"PYTHONPATH": repaired, "PYTHONDONTWRITEBYTECODE": "1"}
            code, out = self.run_script("--case", "r4", "--trials", "2", **options)
        self.assertIn("holds 2 of 2", out)
        self.assertTrue(out.endswith("0 of 1 fail\n"), out)
        self.assertEqual(code, 0)

    def test_a_control_that_fails_is_no_failure_of_python(self):
        code, out = self.run_script("--case", "r9", "--deadline", "0.000001")
        self.assertIn("BROKEN", out)
        self.assertTrue(out.endswith("0 of 1 fail\n"), out)
        self.assertEqual(code, 1)

    def test_an_interrupt_leaves_nothing(self):
        # After its control, r9 hangs until the deadline with three processes: the script, the
        # process of the trial, and the producer.
        process = self.start("--case", "r9", "--deadline", "60")
        end = time.monotonic() + 30
        while len(self.marked()) < 3:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate()
        self.expect_nothing_left()


if __name__ == "__main__":
    unittest.main()
