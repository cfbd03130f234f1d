"""What the figures were measured on, in a few words each.

It knows nothing of what was measured.
"""

import datetime
import os
import platform
import subprocess


def first_line(*command):
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return None
    return run.stdout.decode().partition("\n")[0].strip() or None


def from_file(path, key):
    with open(path) as lines:
        values = (line.partition(":")[2].strip() for line in lines if line.startswith(key))
        return next(values, "unknown")


def version_of(python, package):
    code = f"import importlib.metadata as m; print(m.version('{package}'))"
    return first_line(python, "-c", code) if python else None


def describe(venv, venv_arq):
    """Pairs of a name and a text. `venv` is the Python that has packages, or None, and `venv_arq` is
    the one that has arq."""
    memory_gib = int(from_file("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    commit = first_line("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = first_line("git", "status", "--porcelain", "--untracked-files=no", "--", "src")
    load = ", ".join(f"{load:.2f}" for load in os.getloadavg())
    described = [
        ("CPU", f"{from_file('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores"),
        ("memory", f"{memory_gib:.0f} GiB"),
        ("kernel", f"{platform.system()} {platform.release().partition('-')[0]}"),
        ("Python", platform.python_version()),
        ("rustc", (first_line("rustc", "--version") or "unknown").split(" (")[0][6:]),
        ("loky", version_of(venv, "loky") or "absent"),
        ("Redis", redis_version() or "absent"),
        ("redis-py", version_of(venv, "redis") or "absent"),
        ("rq", version_of(venv, "rq") or "absent"),
        ("arq", version_of(venv_arq, "arq") or "absent"),
        ("Celery", version_of(venv, "celery") or "absent"),
        ("commit", commit + (" and changes to src" if changed else "")),
        ("date", datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("load at the beginning (1, 5, 15 minutes)", load),
    ]
    return described


def redis_version():
    line = first_line("redis-server", "--version") or ""
    return next((word[2:] for word in line.split() if word.startswith("v=")), None)
