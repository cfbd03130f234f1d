#!/usr/bin/env bash
# Linux 6.18, psutil 7.2.2: whoever reads /proc/PID/environ in several calls gets a part of it, and no
# error, if the process executes a program between two of them, though it has the same environment
# before and after. The open file is that of the memory before, of which there is nothing any more. One
# read with a large buffer returns all of it, or nothing in the moment of the exec itself. psutil, as
# the file functions of most languages, reads piece by piece.
#
# Guess before the run: all variables, or an error; never some of them.
# Exits with 1 when that changes. Needs python3 with venv, and PyPI.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip -q --disable-pip-version-check install psutil==7.2.2
cat >look.py <<'PY'
import os
import subprocess
from collections import Counter

import psutil

VARIABLES = {f"VARIABLE_{number:03}": "x" * 100 for number in range(200)}
# A shell that executes itself over and over.
SCRIPT = 'exec /bin/sh -c "$0" "$0"'
shell = subprocess.Popen(["/bin/sh", "-c", SCRIPT, SCRIPT], env=VARIABLES)
process = psutil.Process(shell.pid)


def in_one_call():
    number = os.open(f"/proc/{shell.pid}/environ", os.O_RDONLY)
    try:
        return os.read(number, 1 << 20).count(b"VARIABLE_")
    finally:
        os.close(number)


def told(count):
    return "all" if count == len(VARIABLES) else "none" if count == 0 else "a part"


by_psutil, by_one = Counter(), Counter()
for _ in range(60_000):
    try:
        names = process.environ()
        by_psutil[told(sum(name.startswith("VARIABLE_") for name in names))] += 1
        by_one[told(in_one_call())] += 1
    except (OSError, psutil.Error) as error:
        by_psutil[type(error).__name__] += 1
shell.kill()
shell.wait()
print("psutil", psutil.__version__, dict(by_psutil))
print("one call:", dict(by_one))
assert by_psutil["all"] and by_psutil["a part"] and by_one["all"] and not by_one["a part"]
PY
uname -sr
env/bin/python look.py
