#!/usr/bin/env python3
"""The nine ways, r1 to r9, in which Python's `multiprocessing.JoinableQueue` loses items or hangs,
shown on the Python that runs this file.

    python3 benches/peers/failures.py                  all nine, three trials each: 1 to 2 minutes
    python3 benches/peers/failures.py --case r3        one of them
    python3 benches/peers/failures.py --json           one JSON object per case
    python3 benches/peers/failures.py --module NAME    on a module with the same names, such as dishrack

What this file is: a demonstration. Each case does one thing that goes wrong in real programs, such
as a worker that is killed, and looks at what becomes of the queue. Before each trial comes its
control, which is the same scenario without the fault and must succeed, so that a failure is the
fault's doing and not this script's. A case that does not fail on this Python is shown as `holds`.

What it is not: a benchmark, or a proof that dishrack holds: that is tests/process/nine_failures.rs.
Another module is looked at from outside, because only of `multiprocessing` it is known that there is a
pipe and what lies in it.

How it works: every trial is a process in a session of its own, which starts its workers itself. A
call that may hang is made in a thread, and hangs if at the deadline it sleeps in the kernel. At the
end the process group is killed, and the end of file on the pipe that all of them share says that
nobody is left. Linux only, because it asks /proc where a process waits; Python 3.8 or later.

Exit code: 0 if the script worked, whatever Python did; 1 if a control failed or the script broke.
"""

import argparse
import contextlib
import fcntl
import importlib
import io
import itertools
import json
import multiprocessing
import os
import platform
import queue as errors
import random
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import time
import traceback

# Always `fork`, whatever the default is (`forkserver` from Python 3.14 on). The queue's locks, pipe
# and feeder thread are the same for all start methods, but only under `fork` are the semaphores'
# names unlinked as soon as they are made, so that a killed group leaves none in /dev/shm. Forking
# is safe while there is one thread. Therefore each case starts its processes before it puts
# anything itself, because the first put starts the feeder thread.
FORK = multiprocessing.get_context("fork")
# What is tried: FORK, or the module that `--module` names, with the start method that it has by itself.
TRIED = FORK

# Far more than the 64 KiB of the pipe, so that it cannot be sent until somebody reads.
LARGE = bytes(1 << 20)
# How often the cases that are races are run within one trial.
PRODUCERS = 20
PUTS = 200

HUNG = object()
VERSION = platform.python_version()


class Broken(Exception):
    """The script cannot show what it wants to show. Nothing is said about the queue."""


class Trial:
    """One run of one case, with the fault or, as its control, without it."""

    def __init__(self, is_faulty, deadline):
        self.is_faulty = is_faulty
        self.deadline = deadline
        self.findings = []

    def finds(self, finding):
        """Notes where the queue fell short of the hope. A case without findings holds."""
        self.findings.append(finding)

    def call(self, name, function, *args, **options):
        """What `function` returns or raises; `HUNG`, and a finding, if it is not back in time."""
        outcome = []

        def run():
            try:
                outcome.append((function(*args, **options), None))
            except Exception as error:
                outcome.append((None, error))

        # A daemon thread, because one that hangs has to be left behind.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self.deadline)
        if not outcome:
            with open(f"/proc/self/task/{thread.native_id}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] != "S":
                    raise Broken(f"{name} is slow, but does not sleep: try a longer --deadline")
            self.finds(f"{name} hung for {self.deadline:g} s")
            return HUNG
        result, error = outcome[0]
        if error is not None:
            raise error
        return result

    def until(self, what, is_so):
        """Waits for a fact that nobody announces, such as that a process is blocked."""
        end = time.monotonic() + self.deadline
        while not is_so():
            if time.monotonic() > end:
                raise Broken(f"waited in vain until {what}")
            time.sleep(0.001)

    def kill(self, process):
        """Kills `process` and waits until it is gone."""
        process.kill()
        process.join(self.deadline)
        if process.exitcode != -signal.SIGKILL:
            raise Broken(f"a process that was killed has exit code {process.exitcode}")


def start(target, *args):
    """A new process that runs `target`."""
    process = TRIED.Process(target=target, args=args)
    process.start()
    return process


def sleeps_in(process):
    """The kernel function in which the main thread of `process` waits, or nothing if it runs."""
    with open(f"/proc/{process.pid}/wchan") as wchan:
        return wchan.read()


def has_rested(process):
    """Whether `process` has hardly run for a while: whatever it waits for did not come. It may look for
    signals meanwhile, so the file of the kernel function says less than the time that it ran."""

    def ran():
        with open(f"/proc/{process.pid}/schedstat") as schedstat:
            return int(schedstat.read().split()[0])

    before = ran()
    time.sleep(0.2)
    return before > 0 and ran() - before < 5_000_000


def waits_in(process, kind):
    """Whether the main thread of `process` is blocked in a kernel function whose name has `kind` in
    it: `pipe` for reading a queue's, `futex` for a semaphore. The full names differ by kernel.
    What `Pipe` makes is a pair of sockets, and not taken for a queue's pipe."""
    return kind in sleeps_in(process) if TRIED is FORK else has_rested(process)


def bytes_in_pipe(queue):
    """How much was sent and not yet received. There is no public way to ask for it."""
    count = fcntl.ioctl(queue._reader.fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(count, sys.byteorder)


def has_items(queue):
    """Whether what was put has arrived, for whoever gets."""
    return bytes_in_pipe(queue) > 0 if TRIED is FORK else queue.qsize() > 0


def until_half_sent(trial, queue):
    """Waits until a part of an item is sent. Nobody reads yet, and a pipe cannot hold all of it. Its first 4
    bytes are the length. Of another queue nobody knows, so the moment is any."""
    if TRIED is FORK:
        trial.until("a part of the item is sent", lambda: bytes_in_pipe(queue) > 4)
    else:
        time.sleep(random.uniform(0, 0.003))


def dry_one(queue, pipe):
    """Gets an item, says so, and acknowledges it when told to."""
    pipe.send(queue.get())
    pipe.recv()
    queue.task_done()


def dry_all(queue):
    """Gets and acknowledges for ever."""
    while True:
        queue.get()
        queue.task_done()


def put_again_and_again(queue, pipe):
    """Puts large items, a few of them."""
    pipe.send("begun")
    for _ in range(8):
        queue.put(LARGE)


def when_told(pipe, function, *args):
    """Calls `function`, but not before a message comes."""
    pipe.recv()
    function(*args)


def put_and_exit(queue, is_faulty):
    """Exits without flushing, as in a crash. The control flushes first."""
    queue.put("dish")
    if not is_faulty:
        queue.close()
        queue.join_thread()
    os._exit(0)


def r1(trial):
    """Trigger: worker SIGKILLed between get() and task_done()
    Hope: another worker gets the item, join() returns
    There: nobody knows who had the item, so that no other worker gets it, though one is waiting.
        It stays counted as unfinished.
    """
    queue = TRIED.JoinableQueue()
    pipe, end = TRIED.Pipe()
    other_pipe, other_end = TRIED.Pipe()
    worker = start(dry_one, queue, end)
    other = start(when_told, other_end, dry_all, queue)
    queue.put("dish")
    trial.until("the worker says that it has the item", pipe.poll)
    if trial.is_faulty:
        trial.kill(worker)
    else:
        pipe.send("acknowledge it")
    other_pipe.send("get what there is")
    is_hung = trial.call("join()", queue.join) is HUNG
    # The item is not in the queue, and the other worker is still waiting for one.
    if is_hung and queue.qsize() == 0 and waits_in(other, "pipe"):
        trial.finds("item lost")


def r2(trial):
    """Trigger: idle worker SIGKILLed inside a blocking get()
    Hope: others get what is put
    There: whoever waits in get() holds the readers' lock meanwhile. It is never released when
        that process dies, and nobody can get anything any more.
    """
    queue = TRIED.JoinableQueue()
    worker = start(queue.get)
    trial.until("the worker is blocked in get()", lambda: waits_in(worker, "pipe"))
    if trial.is_faulty:
        trial.kill(worker)
    # One item is for the worker, which in the control is alive, and one is for us.
    queue.put("dish")
    queue.put("dish")
    is_hung = trial.call("get()", queue.get) is HUNG
    if is_hung and has_items(queue):
        trial.finds("though there is an item")


def r3(trial):
    """Trigger: process SIGKILLed while waiting in join()
    Hope: task_done() and put() do not care
    There: task_done() wakes those who wait in join(), and holds the condition's lock until each of
        them says that it is awake. The dead one never does, and put() needs the same lock.
    """
    queue = TRIED.JoinableQueue()
    pipe, end = TRIED.Pipe()
    joiner = start(when_told, end, queue.join)
    queue.put("dish")
    pipe.send("join")
    trial.until("the process is blocked in join()", lambda: waits_in(joiner, "futex"))
    if trial.is_faulty:
        trial.kill(joiner)
    queue.get(timeout=trial.deadline)
    trial.call("task_done()", queue.task_done)
    trial.call("put()", queue.put, "dish")


def r4(trial):
    """Trigger: item that cannot be serialized
    Hope: put() raises the error and counts nothing
    There: put() only hands the item to the feeder thread, which fails later, prints a traceback and
        drops the item. It stays counted as unfinished.
    """
    queue = TRIED.JoinableQueue()
    start(dry_all, queue)
    if not trial.is_faulty:
        queue.put("dish")
        trial.call("join()", queue.join)
        return
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed):
        try:
            queue.put(lambda: "dish")
        except Exception:
            pass  # As hoped. Whether the item was counted all the same is for join() to tell.
        else:
            trial.until("the error is printed", lambda: "Error: " in printed.getvalue())
            trial.finds("put() succeeded, its error is only printed")
        trial.call("join()", queue.join)


def r5(trial):
    """Trigger: producer exits right after put()
    Hope: what put() has accepted arrives
    There: put() returns when the item is in a list in the producer's own memory. Whether the feeder
        thread sends it before the process is gone is a race, so there are many producers.
    """
    lost = []
    for _ in range(PRODUCERS):
        # Each has its own queue, so that one that dies while sending does not disturb the next.
        queue = TRIED.JoinableQueue()
        producer = start(put_and_exit, queue, trial.is_faulty)
        producer.join(trial.deadline)
        if producer.exitcode != 0:
            raise Broken(f"the producer's exit code is {producer.exitcode}")
        # Nobody else sends anything, so what has not arrived now never will.
        if not has_items(queue):
            lost.append(queue)
    if lost:
        trial.finds(f"{len(lost)} of {PRODUCERS} items lost")
        trial.call("join()", lost[0].join)


def r6(trial):
    """Trigger: producer SIGKILLed while sending 1 MiB
    Hope: the half item is dropped, the rest goes on
    There: half an item stays in the pipe, and the writers' lock stays taken. get() waits for the
        other half, beyond its timeout, and nobody else can send.
    """
    queue = TRIED.JoinableQueue()
    pipe, end = TRIED.Pipe()
    signal_pipe, signal_end = TRIED.Pipe()
    producer = start(put_again_and_again, queue, signal_end)
    other = start(when_told, end, queue.put, "dish")
    trial.until("the producer has begun", signal_pipe.poll)
    until_half_sent(trial, queue)
    if trial.is_faulty:
        trial.kill(producer)
    got = []
    with contextlib.suppress(errors.Empty):
        while (item := trial.call("get(timeout=0.2)", queue.get, timeout=0.2)) is not HUNG:
            got.append(item)
    # A process ends when its feeder thread has sent everything.
    pipe.send("put")
    trial.call("another producer", other.join)
    if trial.findings:
        return
    if any(item != LARGE for item in got):
        trial.finds("an item is spoiled")
    if queue.get(timeout=trial.deadline) != "dish":
        trial.finds("another producer's item is spoiled")


def r7(trial):
    """Trigger: task_done() without a get()
    Hope: task_done() is refused
    There: only the number of calls is counted, and join() believes that an item is done which is
        still in the queue.
    """
    queue = TRIED.JoinableQueue()
    queue.put("dish")
    if not trial.is_faulty:
        queue.get(timeout=trial.deadline)
    try:
        queue.task_done()
    except ValueError:
        if trial.is_faulty:
            return
        raise
    trial.call("join()", queue.join)
    if queue.qsize() > 0:
        trial.finds(f"join() returned with {queue.qsize()} item still queued")


def r8(trial):
    """Trigger: put(), and at once empty() or get_nowait()
    Hope: empty() is False, get_nowait() returns the item
    There: put() returns before the feeder thread has sent the item. Until then the queue looks
        empty, even to the one who put it. That is a race, so there are many puts.
    """
    queue = TRIED.JoinableQueue()

    def put():
        queue.put("dish")
        if not trial.is_faulty:
            trial.until("the item has arrived", lambda: has_items(queue))

    looked = raised = 0
    for _ in range(PUTS):
        put()
        looked += queue.empty()
        queue.get(timeout=trial.deadline)
        put()
        try:
            queue.get_nowait()
        except errors.Empty:
            raised += 1
            queue.get(timeout=trial.deadline)
    if looked or raised:
        trial.finds(f"empty() True {looked}, get_nowait() Empty {raised} times of {PUTS}")


def r9(trial):
    """Trigger: joining a process before draining its 1 MiB
    Hope: join() of the process returns
    There: a process ends only when its feeder thread has sent everything. That one waits for a
        reader, and the reader waits for the process.
    """
    queue = TRIED.JoinableQueue()
    producer = start(queue.put, LARGE)
    if not trial.is_faulty:
        queue.get(timeout=trial.deadline)
    trial.call("process.join()", producer.join)


CASES = {case.__name__: case for case in (r1, r2, r3, r4, r5, r6, r7, r8, r9)}


def described(case, label):
    """What the case's docstring says under `label`."""
    lines = (line.strip().partition(": ") for line in case.__doc__.splitlines())
    return next(text for key, _, text in lines if key == label)


def run_here(name, is_faulty, deadline):
    """Runs one trial in this process: what it found."""
    trial, broken = Trial(is_faulty, deadline), None
    try:
        CASES[name](trial)
    except Exception as error:
        broken = str(error) if isinstance(error, Broken) else traceback.format_exc()
    return {"findings": trial.findings, "broken": broken}


def use(module):
    """Tries this module in place of `multiprocessing`."""
    global TRIED
    if module != "multiprocessing":
        TRIED = importlib.import_module(module)


def run_inside(name, is_faulty, deadline):
    """Prints what one trial found, and kills the whole process group, this process included."""
    if os.getsid(0) != os.getpid():
        sys.exit("--inside is for this script itself: it kills its process group")
    try:
        print(json.dumps(run_here(name, is_faulty, deadline)), flush=True)
    finally:
        os.killpg(os.getpid(), signal.SIGKILL)


def run_trial(name, mode, chosen):
    """What one trial found in a process of its own. When this returns, nothing of it is left."""
    deadline = chosen.deadline
    command = [sys.executable, os.path.abspath(__file__), "--case", name, "--inside", mode]
    process = subprocess.Popen(
        command + ["--deadline", str(deadline), "--module", chosen.module],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    out = err = b""
    try:
        # Every wait inside has its own deadline, and this one is for a script that is broken. All
        # processes of the trial hold the write ends of the two pipes, so the end of both files, for
        # which communicate() waits, is the end of them all.
        out, err = process.communicate(timeout=10 * deadline + 20)
    except subprocess.TimeoutExpired:
        err = b"the trial did not end"
    finally:
        # If it did not end, nobody has waited for its leader yet, and the number is still its own.
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    try:
        return json.loads(out.decode())
    except ValueError:
        return {"findings": [], "broken": "no result: " + err.decode()[-2000:]}


def run_case(name, chosen):
    """All trials of a case, each after its control."""
    trials = chosen.trials
    broken, happened = None, []
    while len(happened) < trials and not broken:
        control = run_trial(name, "control", chosen)
        if control["broken"] or control["findings"]:
            broken = "control failed: " + (control["broken"] or ", ".join(control["findings"]))
            break
        fault = run_trial(name, "fault", chosen)
        broken = fault["broken"]
        happened.append(", ".join(fault["findings"]) or "as hoped")
    failures = [text for text in happened if text != "as hoped"]
    return {
        "case": name,
        "python": VERSION,
        "trigger": described(CASES[name], "Trigger"),
        "expected": described(CASES[name], "Hope"),
        "happened": happened,
        "failures": len(failures),
        "trials": trials,
        "verdict": "BROKEN" if broken else "FAILS" if failures else "holds",
        "broken": broken,
    }


def cells_of(report):
    """The cells of a line of the table, which shows the first trial that failed."""
    verdict, happened = report["verdict"], report["broken"]
    if not report["broken"]:
        happened = next((text for text in report["happened"] if text != "as hoped"), "as hoped")
        verdict += f" {report['failures'] or report['trials']} of {report['trials']}"
    return report["case"], report["trigger"], report["expected"], happened, verdict


def print_row(cells):
    widths = (4, 27, 27, 37, 12)
    wrapped = [textwrap.wrap(cell, width) for cell, width in zip(cells, widths)]
    for line in itertools.zip_longest(*wrapped, fillvalue=""):
        padded = (text.ljust(width) for text, width in zip(line, widths))
        print("  ".join(padded).rstrip(), flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--case", choices=list(CASES), help="only this one")
    parser.add_argument("--trials", type=int, default=3, metavar="K", help="of each case (3)")
    late = "what is not back after this many seconds hangs (3)"
    parser.add_argument("--deadline", type=float, default=3, metavar="SECONDS", help=late)
    parser.add_argument("--json", action="store_true", help="one JSON object per case")
    other = "what to try in place of multiprocessing: a module with the same names"
    parser.add_argument("--module", default="multiprocessing", metavar="NAME", help=other)
    parser.add_argument("--inside", choices=["control", "fault"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.trials < 1 or not chosen.deadline > 0:
        parser.error("--trials and --deadline must be positive")
    if not sys.platform.startswith("linux"):
        parser.error("this needs the /proc of Linux")
    return chosen


def main():
    chosen = arguments()
    use(chosen.module)
    if chosen.inside:
        run_inside(chosen.case, chosen.inside == "fault", chosen.deadline)
    names = [chosen.case] if chosen.case else list(CASES)
    if not chosen.json:
        print_row(("case", "trigger", "expected", "what happened", "verdict"))
    reports = []
    for name in names:
        reports.append(run_case(name, chosen))
        if chosen.json:
            print(json.dumps(reports[-1]), flush=True)
        else:
            print_row(cells_of(reports[-1]))
    failing = sum(report["verdict"] == "FAILS" for report in reports)
    if not chosen.json:
        print("\nOurs are in tests/process/nine_failures.rs: `tests/run process` runs them.")
        print(f"Python {VERSION} {chosen.module}: {failing} of {len(names)} fail")
    sys.exit(any(report["broken"] for report in reports))


if __name__ == "__main__":
    main()
