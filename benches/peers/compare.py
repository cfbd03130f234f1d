#!/usr/bin/env python3
"""Runs this project and its peers on the same work, in turns, and writes down what came out.

    benches/run                        builds what is needed and runs this

In each round every contender runs once, in a process group of its own and for a limited time, and
prints one line of JSON. A contender that is absent or fails is a line of the table that says so.
Whatever is left of a contender is killed before the next one begins.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import cases
import figures
import machine
import plot
import report

# Sides that are a Python with the package of that name.
PACKAGES = ("loky", "redis", "rq", "arq", "celery")

HERE = pathlib.Path(__file__).resolve().parent
BENCHES = HERE.parent
LIMIT_S = 120
# A quick run is for whether everything works. Its figures are no measurement.
QUICK_PART = 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    names = [row.name for row in cases.ROWS]
    parser.add_argument("--program", help="the compiled benchmark `peers`")
    parser.add_argument("--supervisor", help="the compiled command")
    parser.add_argument("--venv", help="a Python that has loky, redis, rq and celery")
    parser.add_argument("--venv-arq", help="a Python that has arq")
    parser.add_argument("--rounds", type=int, default=5, help="at most; 5")
    parser.add_argument("--only", action="append", choices=names, metavar="ROW", help="and no other")
    parser.add_argument("--quick", action="store_true", help="one round with few items")
    parser.add_argument("--data", required=True, help="where the measurements are kept, as JSON")
    parser.add_argument("--results", default=str(BENCHES / "results"), help="without an ending")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: use what is kept")
    chosen = parser.parse_args()
    if chosen.rounds < 1:
        parser.error("at least one round is needed")
    if not chosen.redraw and not (chosen.program and chosen.supervisor):
        parser.error("--program and --supervisor are needed")
    return chosen


def quickened(case):
    """The same with less to do."""
    options = dict(case.options)
    options["items"] = max(options.get("items", 0) // QUICK_PART, 16)
    options["workers"] = min(options.get("workers", 1), 50)
    if "hang_ms" in options:
        options["hang_ms"] //= QUICK_PART
    return case._replace(options=options)


def python_of(case, chosen):
    """Which Python runs a script, if there is one."""
    if case.side == "arq":
        return chosen.venv_arq
    return chosen.venv if case.side in PACKAGES else sys.executable


def needs_server(case):
    return case.side == "redis" or case.row in cases.ROWS_WITH_A_SERVER


def absence(case, chosen):
    """Why a contender cannot run here, if so."""
    if case.side in PACKAGES:
        python = python_of(case, chosen)
        imports = [python, "-c", f"import {case.side}"]
        is_there = python and subprocess.run(imports, stderr=subprocess.DEVNULL).returncode == 0
        if not is_there:
            return f"absent: no Python package {case.side}"
    if case.side == "command" and case.contender != "dishrack" and not shutil.which(case.contender):
        return f"absent: no {case.contender}"
    if needs_server(case) and not shutil.which("redis-server"):
        return "absent: no redis-server"
    return None


def command(case, chosen):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in case.options.items()]
    if case.side == "idle":
        order = ["--contender", case.contender, "--workers", str(case.options["workers"])]
        return [sys.executable, str(HERE / case.script), "--program", chosen.program, *order]
    if case.side == "rust":
        pairs = [part for option in options for part in option.split("=")]
        return [chosen.program, case.row, case.contender, *pairs, "--limit-s", str(LIMIT_S)]
    if case.side == "command":
        options.append(f"--supervisor={chosen.supervisor}")
        options.append(f"--program={chosen.program}")
    limit = f"--limit-s={LIMIT_S}"
    return [python_of(case, chosen), str(HERE / case.script), case.row, case.contender, *options, limit]


def run(case, chosen):
    """The measurement, or why there is none."""
    process = subprocess.Popen(
        command(case, chosen),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=LIMIT_S + 10)
    except subprocess.TimeoutExpired:
        out, err = b"", b"not done in time"
    finally:
        end_group(process)
    last = out.decode().strip().rpartition("\n")[2]
    with contextlib.suppress(ValueError):
        line = json.loads(last)
        if "value" in line and process.returncode == 0:
            return line
    why = err.decode(errors="replace").strip().rpartition("\n")[2][:100]
    if process.returncode == -signal.SIGALRM:
        why = f"not done in {LIMIT_S} s"
    return dict(failed=f"failed: {why or process.returncode}".replace("|", "/"))


def end_group(process):
    """Kills what is left of a contender. The number of a group is not given to another one while
    anybody is in it, and an empty group is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def who(case):
    """Whose absence a case's is: a side's, or a program's."""
    return (case.side, needs_server(case), case.contender if case.side == "command" else None)


def measure(chosen, all_cases):
    absent = {}
    for case in all_cases:
        if who(case) not in absent:
            absent[who(case)] = absence(case, chosen)
    measurements = {}
    for number in range(1 if chosen.quick else chosen.rounds):
        began = time.monotonic()
        for case in all_cases:
            lines = measurements.setdefault(figures.key_of_case(case), [])
            if number >= case.rounds:
                continue
            why = absent[who(case)]
            lines.append(dict(failed=why) if why else run(case, chosen))
            tell(case, lines[-1])
        print(f"round {number + 1}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return measurements


def tell(case, line):
    text = line.get("failed") or f"{report.number(line['value'])} {line['unit']}"
    name = f"{case.row}, {case.options.get('workers', 1)} workers: {case.label}"
    print(f"  {name}: {text}", file=sys.stderr, flush=True)


def collect(chosen, all_cases):
    described = machine.describe(chosen.venv, chosen.venv_arq)
    measurements = measure(chosen, all_cases)
    rounds = 1 if chosen.quick else chosen.rounds
    return dict(machine=described, rounds=rounds, quick=chosen.quick, measurements=measurements)


def main():
    chosen = arguments()
    cpus = os.cpu_count() or 1
    all_cases = list(cases.all_cases(cpus))
    if chosen.only:
        all_cases = [case for case in all_cases if case.row in chosen.only]
    if chosen.quick:
        all_cases = [quickened(case) for case in all_cases]
    if not chosen.redraw:
        pathlib.Path(chosen.data).write_text(json.dumps(collect(chosen, all_cases), indent=1))
    data = json.loads(pathlib.Path(chosen.data).read_text())
    text = report.markdown(data, cases.ROWS, all_cases, list(cases.targets(cpus)))
    print(text)
    pathlib.Path(chosen.results + ".md").write_text(text)
    pathlib.Path(chosen.results + ".svg").write_text(plot.svg(data, all_cases))


if __name__ == "__main__":
    main()
