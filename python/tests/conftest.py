"""What the tests share: programs that are run as their own, and processes that must not stay."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time
from multiprocessing import resource_sharer, resource_tracker

import dishrack
import pytest

# A shell ignores it for what it runs in the background, and so would every program that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROGRAMS = pathlib.Path(__file__).parent / "programs"

#: For whatever must happen sooner or later, on a loaded machine too.
PATIENCE = 60.0


def children_of(pid: int) -> set[int]:
    """All processes below this one."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = pathlib.Path("/proc", name, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
    below, wave = set(), {pid}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave} - below
        below |= wave
    return below


def until(holds, what: str) -> None:
    """Waits until something holds that nothing tells of."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"{what}: it never was so"
        time.sleep(0.01)


@pytest.fixture
def program():
    """Starts a program of `tests/programs`; what it has started must end with it."""
    started = []

    def start(name: str, *arguments: str, **options):
        command = [sys.executable, str(PROGRAMS / name), *arguments]
        # With it the words of a line are written one by one, between those of other processes.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        # From 3.13 on a traceback on a terminal is coloured.
        environment["PYTHON_COLORS"] = "0"
        options = {"env": environment, "text": True, **options}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(command, start_new_session=True, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(autouse=True, scope="session")
def what_stays_is_there():
    """What stays once it was used: the fork server, and the standard library's tracker, thread and memory."""
    process = dishrack.get_context("forkserver").Process()
    process.start()
    process.join()
    process.close()
    # The files are closed with it.
    del process
    resource_tracker.ensure_running()
    reader, writer = os.pipe()
    resource_sharer.DupFd(reader)
    value = multiprocessing.Value("i")
    yield value
    os.close(reader)
    os.close(writer)


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No test leaves a process, an open file or shared memory behind."""
    files, _ = open_files()
    shared = shared_memory()
    yield
    gc.collect()
    assert multiprocessing.active_children() == []
    until(lambda: not workers_of(os.getpid()), "the workers end")
    until(lambda: open_files()[0] <= files, "files are closed")
    assert open_files()[1] <= SEGMENTS_MAX
    assert shared_memory() <= shared


def shared_memory() -> set[str]:
    """The named shared memory of the machine. Folders there are those of other programs."""
    return {one.name for one in os.scandir("/dev/shm") if not one.is_dir()}


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended: one that has may wait for whoever takes its end."""
    try:
        stat = pathlib.Path("/proc", str(pid), "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def is_fork_server(pid: int) -> bool:
    """Whether it is one, and not a worker that was forked just now and has its words still."""
    try:
        words = pathlib.Path("/proc", str(pid), "cmdline").read_bytes()
        return b"fork-server of" in words and os.getpgid(pid) == pid
    except (FileNotFoundError, ProcessLookupError):
        return False


#: Segments of 4 MiB that a process keeps for its next large items, 64 MiB in all, and the one in use.
SEGMENTS_MAX = 17


def open_files() -> tuple[int, int]:
    """The number of open files that are no shared memory of this process, and that of those."""
    files = segments = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith("/memfd:dishrack"):
            segments += 1
        else:
            files += 1
    return files, segments


def workers_of(pid: int) -> set[int]:
    """Its children, but for the fork server, and the resource tracker of the standard library."""

    def is_worker(child: int) -> bool:
        try:
            words = pathlib.Path("/proc", str(child), "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return b"resource_tracker" not in words and not is_fork_server(child)

    return {child for child in children_of(pid) if is_worker(child)}
