#!/usr/bin/env python3
"""What the death of one worker costs, in each pool of processes that this Python can import.

    python3 benches/peers/kills.py                    all of them, five trials each: some ten minutes
    python3 benches/peers/kills.py --peer loky        one of them
    python3 benches/peers/kills.py --json             one JSON object per trial

The work is ten items of 0.3 s for two workers. In the trial `busy` the third item's function kills its
own process by SIGKILL, the first time that it runs: a second attempt would succeed. In the trial `idle`
both workers have worked, and one of them is killed while there is nothing to do; then the ten items
come. Either way ten more items follow, to see if the pool can still be used.

What this file is: a demonstration, of what an out-of-memory kill does to a program. What it is not: a
benchmark. A pool that never promised to survive a kill is not wrong if it does not.

How it works: each trial is a process in a session of its own, and what is not back at the deadline
hangs. At the end the session is killed, but for the resource trackers that some pools have: those see the
end of the others, remove what is left in /dev/shm, and end. Linux only.
"""

import argparse
import collections
import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ITEMS = 10
SECONDS = 0.3
# The place of a trial: a file for each attempt that began, and the mark of the one that was killed.
PLACE = "KILLS_PLACE"


def work(number):
    """An item's function. Item 2 of a busy trial is negative, and kills its process the first time."""
    place = os.environ[PLACE]
    descriptor, _ = tempfile.mkstemp(prefix=f"begun-{abs(number)}-", dir=place)
    os.close(descriptor)
    if number < 0:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(f"{place}/killed", os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(SECONDS)
    return os.getpid()


def no_item(_):
    """An item that only tells who worked on it, and gives the other worker time to take one."""
    time.sleep(0.1)
    return os.getpid()


def dry(queue, function):
    """The loop of a process that works for a queue."""
    while True:
        number = queue.get()
        function(number)
        queue.task_done()


class NoIdleWorker(Exception):
    """The pool ends its workers when there is nothing to do."""


class Futures:
    """A pool that has `submit`."""

    def __init__(self, make):
        self.pool = make()

    def submit(self, function, number):
        return self.pool.submit(function, number)

    def results(self, function, numbers):
        """Each item's result, or its exception, as they come: one that never does hides no other."""
        pending = []
        for number in numbers:
            try:
                pending.append(self.submit(function, number))
            except Exception as error:
                yield error
        while pending:
            ended = [future for future in pending if self.is_over(future)]
            pending = [future for future in pending if future not in ended]
            yield from map(self.end_of, ended)
            time.sleep(0.005)

    def is_over(self, future):
        return future.done()

    def end_of(self, future):
        try:
            return self.wait(future)
        except Exception as error:
            return error

    def wait(self, future):
        return future.result()


class Scheduled(Futures):
    """pebble's."""

    def submit(self, function, number):
        return self.pool.schedule(function, args=[number])


class Asynchronous(Futures):
    """A pool that has `apply_async`."""

    def submit(self, function, number):
        return self.pool.apply_async(function, (number,))

    def is_over(self, future):
        return future.ready()

    def wait(self, future):
        return future.get()


class Mapped(Futures):
    """A pool that has nothing but `map`, whose error is that of all items."""

    def results(self, function, numbers):
        try:
            yield from self.map(function, numbers)
        except Exception as error:
            yield from [error] * len(numbers)

    def map(self, function, numbers):
        return list(self.pool.map(function, numbers))


class Parallel(Mapped):
    """joblib's: `make` gives the options, and there is a new `Parallel` for each call, as its users do."""

    def map(self, function, numbers):
        joblib = importlib.import_module("joblib")
        return joblib.Parallel(n_jobs=2, **self.pool)(joblib.delayed(function)(n) for n in numbers)


class Joined(Futures):
    """A queue and two processes, which are there from the beginning. All that `join` says of an item is that it is done."""

    def __init__(self, make):
        module = make()
        self.queue = module.JoinableQueue()
        self.workers = [module.Process(target=dry, args=(self.queue, work), daemon=True) for _ in "ab"]
        for worker in self.workers:
            worker.start()

    def results(self, function, numbers):
        if function is no_item:
            # They work from the beginning, and rest in `get`.
            for worker in self.workers:
                until_asleep(worker.pid)
                yield worker.pid
            return
        for number in numbers:
            self.queue.put(number)
        self.queue.join()
        yield from numbers


def named(path, **options):
    """Something of a module that may not be there."""
    module, _, name = path.rpartition(".")

    def make():
        return getattr(importlib.import_module(module), name)(**options)

    return make


def loky():
    # The executor of `get_reusable_executor` replaces itself, and only on its next call.
    return importlib.import_module("loky").ProcessPoolExecutor(2)


# The package of each, what it is called, and how it is used.
PEERS = {
    "multiprocessing.JoinableQueue": (None, Joined, lambda: importlib.import_module("multiprocessing")),
    "multiprocessing.Pool": (None, Asynchronous, named("multiprocessing.Pool", processes=2)),
    "ProcessPoolExecutor": (None, Futures, named("concurrent.futures.ProcessPoolExecutor", max_workers=2)),
    "loky": ("loky", Futures, loky),
    "joblib": ("joblib", Parallel, dict),
    "joblib, multiprocessing": ("joblib", Parallel, lambda: {"backend": "multiprocessing"}),
    "pebble": ("pebble", Scheduled, named("pebble.ProcessPool", max_workers=2)),
    "mpire": ("mpire", Mapped, named("mpire.WorkerPool", n_jobs=2, keep_alive=True)),
    "billiard": ("billiard", Asynchronous, named("billiard.Pool", processes=2)),
    "multiprocess": ("multiprocess", Asynchronous, named("multiprocess.Pool", processes=2)),
    "pathos": ("pathos", Mapped, named("pathos.pools.ProcessPool", nodes=2)),
    "dishrack.JoinableQueue": ("dishrack", Joined, lambda: importlib.import_module("dishrack")),
    "dishrack.Pool": ("dishrack", Asynchronous, named("dishrack.Pool", processes=2)),
    "dishrack.ProcessPoolExecutor": ("dishrack", Futures, named("dishrack.ProcessPoolExecutor", max_workers=2)),
}


def state_of(pid):
    """The kernel's letter for what a process does; `Z` also for one that is not there any more."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def cpu_time_of(pid):
    with open(f"/proc/{pid}/schedstat") as schedstat:
        return schedstat.read()


def until_asleep(pid):
    """Waits until a process that has nothing to do sleeps, and has not run for a while. Some look for
    work again and again: for those it is enough that they had the time."""
    ran = None
    for _ in range(10):
        state = state_of(pid)
        if state == "Z":
            raise NoIdleWorker
        now = cpu_time_of(pid)
        if state == "S" and now == ran:
            return
        ran = now
        time.sleep(0.2)


def kill_idle(pool):
    """Kills a worker that waits for work, and waits until it is gone."""
    pids = set()
    while len(pids) < 2:
        pids.update(pool.results(no_item, range(4)))
    # Often one of them holds a lock of the pool while it waits, and the other does not.
    victim = random.choice(sorted(pids))
    until_asleep(victim)
    os.kill(victim, signal.SIGKILL)
    while state_of(victim) != "Z":
        time.sleep(0.01)


class Report:
    """What becomes of ten items."""

    def __init__(self):
        self.done = 0
        self.errors = collections.Counter()
        self.seconds = None

    def run(self, pool, numbers):
        """May never return."""
        began = time.monotonic()
        for result in pool.results(work, numbers):
            if isinstance(result, Exception):
                self.errors[type(result).__name__] += 1
            else:
                self.done += 1
        self.seconds = round(time.monotonic() - began, 2)

    def as_json(self):
        return {"done": self.done, "errors": self.errors, "seconds": self.seconds}


def run_here(name, is_busy, deadline, tell):
    """Runs one trial in this process, whose main thread may hang, and tells what it found."""
    _, kind, make = PEERS[name]
    place = os.environ[PLACE]
    pool = kind(make)
    if not is_busy:
        kill_idle(pool)
    first, second = Report(), Report()

    def tell_both():
        begun = sum(entry.startswith("begun-") for entry in os.listdir(place))
        was_killed = not is_busy or os.path.exists(f"{place}/killed")
        broken = {} if was_killed else {"broken": "nobody was killed"}
        tell({**first.as_json(), "begun": begun, "after": second.as_json(), **broken})

    def go_on():
        """The main thread hangs: another one sees if the pool can still be used."""
        timer = threading.Timer(deadline, tell_both)
        timer.start()
        second.run(pool, range(ITEMS))
        timer.cancel()
        tell_both()

    # Pools look whether they are used by the main thread, as nearly all programs do.
    timer = threading.Timer(deadline, go_on)
    timer.start()
    first.run(pool, [-n if is_busy and n == 2 else n for n in range(ITEMS)])
    timer.cancel()
    timer = threading.Timer(deadline, tell_both)
    timer.start()
    second.run(pool, range(ITEMS))
    timer.cancel()
    tell_both()


def run_inside(name, is_busy, deadline):
    """Prints what one trial found, and nothing more."""

    def tell(found):
        print(json.dumps(found), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        run_here(name, is_busy, deadline, tell)
    except NoIdleWorker:
        tell({"idle": "keeps no idle workers"})
    except BaseException:
        tell({"broken": traceback.format_exc()})


def members_of(session):
    """The processes of a session that run, with what they were started as."""
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry)
            if os.getsid(pid) == session and state_of(pid) != "Z":
                with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
                    yield pid, cmdline.read()


def end_session(session):
    """Kills all of a session but the resource trackers, which end by themselves then."""
    end = time.monotonic() + 10
    while members := list(members_of(session)):
        is_over = time.monotonic() > end
        for pid, cmdline in members:
            if is_over or b"resource_tracker" not in cmdline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def run_trial(name, kind, deadline):
    """What one trial found in a process of its own."""
    command = [sys.executable, os.path.abspath(__file__), "--peer", name, "--inside", kind]
    with tempfile.TemporaryDirectory() as place, subprocess.Popen(
        command + ["--deadline", str(deadline)],
        env={**os.environ, PLACE: place},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            # Workers hold the pipe too, so only its own line is waited for.
            line = read_line(process, 3 * deadline + 20)
        finally:
            # Nobody has waited for its leader yet, so the number is still this session's.
            end_session(process.pid)
    try:
        return json.loads(line)
    except ValueError:
        return {"broken": "it did not end"}


def read_line(process, seconds):
    lines = []
    thread = threading.Thread(target=lambda: lines.append(process.stdout.readline()), daemon=True)
    thread.start()
    # Its stderr is not wanted, and must not fill up.
    threading.Thread(target=process.stderr.read, daemon=True).start()
    thread.join(seconds)
    return lines[0] if lines else b""


def in_words(report):
    """Ten items' end as one cell."""
    if report["seconds"] is None:
        return f"{report['done']} done, then it hangs"
    errors = ", ".join(f"{count} {name}" for name, count in sorted(report["errors"].items()))
    return f"{report['done']} done" + (f", {errors}" if errors else "")


def cell_of(reports):
    """What happened, and in how many trials, with the median of the seconds until then."""
    broken = [report["broken"] for report in reports if "broken" in report]
    if broken:
        return "no trial: " + broken[0].strip().splitlines()[-1]
    if "idle" in reports[0]:
        return reports[0]["idle"]
    times = collections.defaultdict(list)
    for report in reports:
        words = f"{in_words(report)}; then {in_words(report['after'])}"
        times[words].append(report["seconds"])
    cells = []
    for words, seconds in sorted(times.items(), key=lambda one: -len(one[1])):
        is_back = None not in seconds
        median = f" ({statistics.median(seconds):.1f} s)" if is_back else ""
        cells.append(words + median + (f", {len(seconds)} of {len(reports)}" if len(times) > 1 else ""))
    return " <br> ".join(cells)


def version_of(package):
    return importlib.metadata.version(package) if package else platform.python_version()


def is_there(name):
    package = PEERS[name][0]
    try:
        version_of(package)
        return True
    except importlib.metadata.PackageNotFoundError:
        return False


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--peer", choices=list(PEERS), action="append", help="only this one")
    parser.add_argument("--trials", type=int, default=5, metavar="K", help="of each kind (5)")
    late = "what is not back after this many seconds hangs (20)"
    parser.add_argument("--deadline", type=float, default=20, metavar="SECONDS", help=late)
    parser.add_argument("--json", action="store_true", help="one JSON object per trial")
    parser.add_argument("--inside", choices=["busy", "idle"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.trials < 1 or not chosen.deadline > 0:
        parser.error("--trials and --deadline must be positive")
    return chosen


def main():
    chosen = arguments()
    if chosen.inside:
        run_inside(chosen.peer[0], chosen.inside == "busy", chosen.deadline)
    names = chosen.peer or [name for name in PEERS if is_there(name)]
    if not chosen.json:
        print(f"Python {platform.python_version()}, {ITEMS} items of {SECONDS} s, 2 workers\n")
        print("| peer | version | a busy worker is killed; then ten more | an idle one is killed, then ten; then ten more |")
        print("| --- | --- | --- | --- |", flush=True)
    is_broken = False
    for name in names:
        cells = []
        for kind in ("busy", "idle"):
            reports = [run_trial(name, kind, chosen.deadline) for _ in range(chosen.trials)]
            is_broken |= any("broken" in report for report in reports)
            cells.append(cell_of(reports))
            if chosen.json:
                for report in reports:
                    print(json.dumps({"peer": name, "kind": kind, **report}), flush=True)
        if not chosen.json:
            print(f"| {name} | {version_of(PEERS[name][0])} | {cells[0]} | {cells[1]} |", flush=True)
    sys.exit(is_broken)


if __name__ == "__main__":
    main()
