#!/usr/bin/env python3
"""The cost of the page: benches/web.py [PROGRAM [ROW...]], on a machine with nothing else to do.

It prints a row for each promise: what was measured, and the target. PROGRAM is a release build of
`supervisor` (target/release/supervisor). The rows of a browser need chromium and chromedriver. What pages
cost is measured by turns: some seconds with them, and as many without.
"""

import contextlib
import json
import os
import pathlib
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing
import urllib.parse
import urllib.request

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/supervisor")
FOLDER = tempfile.TemporaryDirectory()
ENVIRONMENT = {**os.environ, "XDG_RUNTIME_DIR": FOLDER.name}
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
ITEMS, WORKERS = 1_000_000, 1000
PAGES = ["/", "/timeline", "/workers", "/items", "/dead"]


class Rates(typing.NamedTuple):
    per_second: float
    # On a machine that others use it says more.
    per_processor_second: float


class Run:
    """A run of dishes with a page, which is killed at the end."""

    def __init__(self, *words, is_served=True):
        served = ["--web", "127.0.0.1:0"] if is_served else []
        command = [PROGRAM, "--name", "bench", *served, *map(str, words)]
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.host = None
        while is_served and self.host is None:
            found = re.search(r"the page is at http://([^/]+)/", self.process.stderr.readline())
            self.host = found and found[1]
        # It may go on writing.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.path = f"{FOLDER.name}/dishrack/bench.sock"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def status(self):
        """Asks over the control socket."""
        while True:
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(self.path)
                except OSError:
                    time.sleep(0.01)
                    continue
                client.sendall(b"GET /v1/status HTTP/1.1\r\nHost: run\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: client.recv(1 << 20), b""))
            return json.loads(answer.partition(b"\r\n\r\n")[2])

    def until(self, is_so):
        while not is_so(status := self.status()):
            time.sleep(0.2)
        return status

    def spent(self, status):
        """Returns the processor time in seconds of this process and of its workers."""
        spent = 0
        for pid in [self.process.pid, *(one["pid"] for one in status["workers"])]:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            spent += int(fields[11]) + int(fields[12])
        return spent / os.sysconf("SC_CLK_TCK")

    def rate(self, seconds):
        """Returns how many items end in a second, by the run's own clock, and in one of processor time."""
        before = self.status()
        spent_before = self.spent(before)
        time.sleep(seconds)
        after = self.status()
        ended = after["counts"]["done"] - before["counts"]["done"]
        passed = (after["uptime_us"] - before["uptime_us"]) / 1e6
        return Rates(ended / passed, ended / (self.spent(after) - spent_before))

    def page_time(self):
        """Returns the processor time in seconds of the threads that serve the page and answer it."""
        spent = 0
        for thread in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            if (thread / "comm").read_text().strip() in ("web", "control"):
                spent += int((thread / "schedstat").read_text().split()[0])
        return spent / 1e9


def row(what, found, target, is_met):
    print(f"| {what} | {found} | {target} | {'met' if is_met else 'MISSED'} |", flush=True)


class Browser:
    """A chromium without a window, driven by chromedriver."""

    def __enter__(self):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        port = None
        while port is None:
            port = re.search(r"successfully on port (\d+)", self.driver.stdout.readline())
        self.base = f"http://127.0.0.1:{port[1]}/session"
        self.profile = tempfile.TemporaryDirectory()
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 f"--user-data-dir={self.profile.name}", "--window-size=1280,900"]
        options = {"goog:chromeOptions": {"args": words}}
        session = self.ask("", {"capabilities": {"alwaysMatch": options}})
        self.base += "/" + session["sessionId"]
        return self

    def __exit__(self, *_):
        request = urllib.request.Request(self.base, method="DELETE")
        urllib.request.urlopen(request).close()
        self.driver.kill()
        self.driver.wait()

    def ask(self, path, body):
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["value"]

    def run(self, script):
        return self.ask("/execute/sync", {"script": script, "args": []})

    def paint_ms(self, address):
        """Opens a page, and returns the time to its first paint with content."""
        self.ask("/url", {"url": address})
        script = "const all = performance.getEntriesByName('first-contentful-paint');" \
                 "return all.length ? all[0].startTime : null"
        while (time_taken := self.run(script)) is None:
            time.sleep(0.05)
        return time_taken

    def memory_mb(self):
        """Returns the memory of all its processes, and of the largest that draws a page, without what
        others share (PSS)."""
        sizes = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_text()
                if self.profile.name in command or "--type=zygote" in command:
                    size = re.search(r"Pss:\s+(\d+)", (folder / "smaps_rollup").read_text())
                    sizes.append((int(size[1]) / 1024, "--type=renderer" in command))
        return sum(size for size, _ in sizes), max(size for size, draws in sizes if draws)


def large_run():
    """Begins a run of so many items that wait, and so many workers that are busy."""
    words = ["--workers", WORKERS, "--dishes", ITEMS + WORKERS, "--capacity", 0, "--wash", 0,
             "--dry", "1000s", "-q"]
    run = Run(*words)
    run.until(lambda status: status["counts"]["waiting"] >= ITEMS and all(
        one["state"] == "busy" for one in status["workers"]))
    return run


def page_of_a_large_run(seconds=30):
    if not shutil.which("chromedriver"):
        return print("| a page in a browser | not tried: there is no chromedriver | | |")
    with large_run() as run:
        for path in PAGES:
            # Each has a browser of its own: what one page leaves is not the next one's.
            with Browser() as browser:
                browser.ask("/url", {"url": "about:blank"})
                bare, _ = browser.memory_mb()
                paint = browser.paint_ms(f"http://{run.host}{path}")
                most = page = 0
                for _ in range(seconds):
                    time.sleep(1)
                    whole, renderer = browser.memory_mb()
                    most, page = max(most, whole), max(page, renderer)
            what = f"`{path}` of {ITEMS:,} items and {WORKERS:,} workers, open for {seconds} s"
            row(f"{what}: first paint", f"{paint:.0f} ms", "1 s", paint < 1000)
            found = f"{page:.0f} MiB for the page; all of chromium {most:.0f} MiB, {bare:.0f} MiB without a page"
            row(f"{what}: memory", found, "300 MB", page * 1.048576 < 300)


@contextlib.contextmanager
def open_pages(host, paths):
    """Reads what keeps open pages of these paths true, as browsers do, and draws nothing."""
    place, port = host.rsplit(":", 1)
    selector, is_over, came = selectors.DefaultSelector(), threading.Event(), {}
    for path in paths:
        query = urllib.parse.urlencode({"page": path})
        client = socket.create_connection((place, int(port)))
        client.sendall(f"GET /live?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        selector.register(client, selectors.EVENT_READ)
        came[client] = b""

    def read():
        while not is_over.is_set():
            for key, _ in selector.select(0.1):
                data = key.fileobj.recv(1 << 20)
                came[key.fileobj] = came[key.fileobj] or data[:12]

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield
    finally:
        is_over.set()
        reading.join()
        for client in came:
            client.close()
    assert all(answer == b"HTTP/1.1 200" for answer in came.values()), came


def busy_run(workers):
    """Begins a run that does not end: it has so many items waiting while it works."""
    words = ["--workers", workers, "--dishes", 10**11, "--capacity", ITEMS, "--wash", 0, "--dry", 0, "-q"]
    run = Run(*words)
    run.until(lambda status: status["counts"]["done"] > 0 and all(
        one["state"] in ("busy", "idle") for one in status["workers"]))
    return run


def lost(ratios):
    """Returns the median of what is lost in percent, and says it with its range."""
    all_lost = sorted(100 * (1 - ratio) for ratio in ratios)
    median = statistics.median(all_lost)
    return median, f"{median:+.1f} % ({all_lost[0]:+.1f} to {all_lost[-1]:+.1f})"


def pairs_row(what, pairs, target, more=""):
    """Prints a row of pairs of rates, with something and without it. Its target holds for the median by processor
    time: what others take from the run is not in it."""
    by_time, by_processor = zip(*([a / b for a, b in zip(one, other)] for one, other in pairs))
    median, words = lost(by_processor)
    found = f"{words} of items by processor time, {lost(by_time)[1]} by time, of " \
            f"{statistics.median(other.per_second for _, other in pairs):,.0f} items/s{more}"
    row(f"{what}, {len(pairs)} pairs", found, f"{target} %", median <= target)


def by_turns(rounds, measure):
    """Returns pairs of what is measured with something and without it, each first by turns."""
    pairs = []
    for one in range(rounds):
        found = {is_so: measure(is_so) for is_so in (one % 2 == 0, one % 2 != 0)}
        pairs.append((found[True], found[False]))
    return pairs


def cost_of_open_pages(rounds=6, seconds=2):
    cases = [("`/` open once", ["/"], 3), ("`/workers` open once", ["/workers"], 3),
             ("`/timeline` open once", ["/timeline"], 3), ("`/` open 100 times", ["/"] * 100, 10),
             ("100 pages, 20 of each kind", PAGES * 20, 10)]
    for workers in (2, WORKERS):
        with busy_run(workers) as run:
            run.rate(seconds)
            for name, paths, target in cases:
                spent = []

                def measure(is_open):
                    with open_pages(run.host, paths if is_open else []):
                        before = run.page_time()
                        rates = run.rate(seconds)
                        if is_open:
                            spent.append((run.page_time() - before) / seconds)
                        return rates

                pairs = by_turns(rounds, measure)
                more = f"; the page's threads took {1000 * statistics.median(spent):.1f} ms a second"
                pairs_row(f"{name}, {workers:,} workers", pairs, target, more)


def cost_of_a_page_in_a_browser(rounds=6, seconds=2):
    """A browser draws on the same processors, which is in the rate by time alone."""
    if not shutil.which("chromedriver"):
        return print("| a page in a browser | not tried: there is no chromedriver | | |")
    with busy_run(2) as run, Browser() as browser:
        run.rate(seconds)

        def measure(is_open):
            browser.ask("/url", {"url": f"http://{run.host}/" if is_open else "about:blank"})
            time.sleep(1)
            return run.rate(seconds)

        pairs_row("`/` open in chromium, 2 workers", by_turns(rounds, measure), 3)


def cost_of_a_page_that_nobody_opens(rounds=6, seconds=2):
    def measure(is_served):
        words = ["--workers", 2, "--dishes", 10**11, "--capacity", ITEMS, "--wash", 0, "--dry", 0, "-q"]
        with Run(*words, is_served=is_served) as run:
            run.until(lambda status: status["counts"]["done"] > 0)
            run.rate(1)
            return run.rate(seconds)

    pairs_row("`--web`, and no page open, 2 workers", by_turns(rounds, measure), 1)


ROWS = [page_of_a_large_run, cost_of_a_page_that_nobody_opens, cost_of_open_pages, cost_of_a_page_in_a_browser]
if __name__ == "__main__":
    print("| | found | target | |\n| --- | --- | --- | --- |", flush=True)
    for one in ROWS:
        if len(sys.argv) < 3 or one.__name__ in sys.argv[2:]:
            one()
