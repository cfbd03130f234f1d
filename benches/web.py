#!/usr/bin/env python3
"""The cost of the page: benches/web.py [PROGRAM [ROW...]], on a machine with nothing else to do.

It prints a row for each promise: what was measured, and the target. PROGRAM is a release build of
`supervisor` (target/release/supervisor). The first row needs chromium and chromedriver. What a page
costs is measured in one run, seconds with open pages and seconds without them by turns.
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
import urllib.parse
import urllib.request

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/supervisor")
FOLDER = tempfile.TemporaryDirectory()
ENVIRONMENT = {**os.environ, "XDG_RUNTIME_DIR": FOLDER.name}
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
ITEMS, WORKERS = 1_000_000, 1000
PAGES = ["/", "/timeline", "/workers", "/items", "/dead"]


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

    def rate(self, seconds):
        """Returns how many items end in a second, by the run's own clock."""
        before = self.status()
        time.sleep(seconds)
        after = self.status()
        ended = after["counts"]["done"] - before["counts"]["done"]
        return ended / (after["uptime_us"] - before["uptime_us"]) * 1e6


@contextlib.contextmanager
def open_pages(host, path, count):
    """Reads what keeps so many open pages true, as browsers do, and draws nothing."""
    place, port = host.rsplit(":", 1)
    query = urllib.parse.urlencode({"page": path})
    request = f"GET /live?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    selector, is_over, came = selectors.DefaultSelector(), threading.Event(), [0]
    for _ in range(count):
        client = socket.create_connection((place, int(port)))
        client.sendall(request)
        selector.register(client, selectors.EVENT_READ)

    def read():
        while not is_over.is_set():
            for key, _ in selector.select(0.1):
                came[0] += len(key.fileobj.recv(1 << 20))

    reading = threading.Thread(target=read)
    reading.start()
    yield
    is_over.set()
    reading.join()
    assert came[0] >= count, "the pages are kept true"
    for key in list(selector.get_map().values()):
        key.fileobj.close()


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
    with large_run() as run, Browser() as browser:
        browser.ask("/url", {"url": "about:blank"})
        bare, _ = browser.memory_mb()
        for path in PAGES:
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


def busy_run(workers):
    """Begins a run that has a million items waiting while it works."""
    words = ["--workers", workers, "--dishes", 10**11, "--capacity", ITEMS, "--wash", 0, "--dry", 0, "-q"]
    run = Run(*words)
    run.until(lambda status: status["counts"]["waiting"] >= ITEMS // 2 and all(
        one["state"] in ("busy", "idle") for one in status["workers"]))
    return run


def cost_of_open_pages(rounds=15, seconds=3):
    for workers in (2, WORKERS):
        with busy_run(workers) as run:
            run.rate(seconds)
            for path, count, target in [("/", 1, 3), ("/workers", 1, 3), ("/timeline", 1, 3), ("/", 100, 10)]:
                costs = []
                for one in range(rounds):
                    rates = {}
                    for is_open in (one % 2 == 0, one % 2 != 0):
                        with open_pages(run.host, path, count if is_open else 0):
                            rates[is_open] = run.rate(seconds)
                    costs.append(1 - rates[True] / rates[False])
                cost = statistics.median(costs) * 100
                spread = f"{min(costs) * 100:+.1f} to {max(costs) * 100:+.1f} %"
                what = f"`{path}` open {count} times, {workers:,} workers, of {rounds} pairs"
                row(what, f"{cost:+.1f} % ({spread}) of {rates[False]:,.0f}/s", f"{target} %", cost <= target)


def cost_of_a_page_that_nobody_opens(dishes=10_000_000, rounds=11):
    """Compares runs with the page, without it, and without the control API for which it keeps bars."""
    forms = {"with the page": [], "without it": [], "without a control API": ["--no-control"]}
    times = {name: [] for name in forms}
    for one in range(rounds + 1):
        for name in sorted(forms, reverse=one % 2 == 0):
            words = ["--workers", 2, "-q", "--dishes", dishes, "--wash", 0, "--dry", 0, *forms[name]]
            began = time.monotonic()
            with Run(*words, is_served=name == "with the page") as run:
                run.process.wait()
            # The first round warms up.
            if one > 0:
                times[name].append(time.monotonic() - began)
    for one, other in [("with the page", "without it"), ("without it", "without a control API")]:
        costs = [a / b - 1 for a, b in zip(times[one], times[other])]
        cost = statistics.median(costs) * 100
        spread = f"{min(costs) * 100:+.1f} to {max(costs) * 100:+.1f} %"
        what = f"{dishes:,} dishes {one}, {other}, of {rounds} pairs"
        row(what, f"{cost:+.1f} % ({spread})", "0", cost <= 1)


ROWS = [page_of_a_large_run, cost_of_open_pages, cost_of_a_page_that_nobody_opens]
if __name__ == "__main__":
    print("| | found | target | |\n| --- | --- | --- | --- |", flush=True)
    for one in ROWS:
        if len(sys.argv) < 3 or one.__name__ in sys.argv[2:]:
            one()
