#!/usr/bin/env python3
"""The cost of the page: benches/web.py [PROGRAM [ROW...]], on a machine with nothing else to do.

It prints a row for each promise: what was measured, and the target. PROGRAM is a release build of
`supervisor` (target/release/supervisor). It needs chromium and
chromedriver.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
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


ROWS = [page_of_a_large_run]
if __name__ == "__main__":
    print("| | found | target | |\n| --- | --- | --- | --- |", flush=True)
    for one in ROWS:
        if len(sys.argv) < 3 or one.__name__ in sys.argv[2:]:
            one()
