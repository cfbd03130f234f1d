#!/usr/bin/env python3
"""Compares this build with an older one on the rows of the comparison, in pairs.

    benches/run --against COMMIT        builds both and runs this

In each round every contender of this project runs twice, once of each build, one right after the
other; who is first changes from round to round. So what slows the machine down for a while counts
on both sides, and the ratio of a pair says more than either figure. Each build brings its own
benchmark program: a row that the older one does not know is a line that says so.
"""

import argparse
import json
import os
import pathlib
import sys

import cases
import compare
import figures
import report

HEAD = """# Measured against {commit}

By `benches/run --against`. Figures are medians over {rounds} rounds, ratios (this build / {commit}) are
medians of the ratios within each round.

"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    names = [row.name for row in cases.ROWS]
    parser.add_argument("--commit", required=True, help="what the older build is called")
    parser.add_argument("--program", required=True, help="the compiled benchmark `peers`")
    parser.add_argument("--supervisor", required=True, help="the compiled command")
    parser.add_argument("--old-program", required=True, help="the same of the older build")
    parser.add_argument("--old-supervisor", required=True)
    parser.add_argument("--rounds", type=int, default=5, help="5")
    parser.add_argument("--only", action="append", choices=names, metavar="ROW", help="and no other")
    parser.add_argument("--quick", action="store_true", help="one round with few items")
    parser.add_argument("--results", required=True, help="without an ending")
    return parser.parse_args()


def is_own(case):
    return case.contender.partition("-")[0] == "dishrack" and case.side in ("rust", "command", "idle")


def builds(chosen):
    """What each side runs, as compare.py wants it."""
    common = dict(venv=None, venv_arq=None)
    new = dict(common, program=chosen.program, supervisor=chosen.supervisor)
    old = dict(common, program=chosen.old_program, supervisor=chosen.old_supervisor)
    return dict(new=argparse.Namespace(**new), old=argparse.Namespace(**old))


def measure(chosen, own_cases):
    sides = builds(chosen)
    absent = {compare.who(case): compare.absence(case, sides["new"]) for case in own_cases}
    measurements = {}
    for number in range(chosen.rounds):
        for case in own_cases:
            pair = measurements.setdefault(figures.key_of_case(case), dict(new=[], old=[]))
            if number >= case.rounds:
                continue
            why = absent[compare.who(case)]
            for side in ("new", "old") if number % 2 else ("old", "new"):
                pair[side].append(dict(failed=why) if why else compare.run(case, sides[side]))
            tell(case, pair)
        print(f"round {number + 1}", file=sys.stderr, flush=True)
    return measurements


def tell(case, pair):
    ends = [line[-1].get("failed") or report.number(line[-1]["value"]) for line in pair.values()]
    workers = case.options.get("workers", 1)
    text = f"  {case.row}, {workers} workers: {case.label}: {ends[0]}, before {ends[1]}"
    print(text, file=sys.stderr, flush=True)


def table_row(case, pair):
    title, unit, better = next(
        (row.title, row.unit, row.better) for row in cases.ROWS if row.name == case.row
    )
    name = f"{title}: {case.label}, {case.options.get('workers', 1):,} workers"
    new, old = (figures.summary(pair, side) for side in ("new", "old"))
    if not (new and old):
        why = figures.failure(pair, "new" if not new else "old") or "not measured"
        return [name, unit, better, "", "", why, ""]
    pairs = zip(figures.values(pair, "new"), figures.values(pair, "old"))
    ratios = [ours / before for ours, before in pairs if ours is not None and before]
    spread = f"{report.number(min(ratios))} to {report.number(max(ratios))}" if ratios else ""
    ratio = figures.ratio(pair, "new", "old")
    cells = [report.number(old[0]), report.number(new[0])]
    return [name, unit, better, *cells, f"{ratio:.3f}" if ratio else "", spread]


def main():
    chosen = arguments()
    own_cases = [case for case in cases.all_cases(os.cpu_count() or 1) if is_own(case)]
    if chosen.only:
        own_cases = [case for case in own_cases if case.row in chosen.only]
    if chosen.quick:
        own_cases = [compare.quickened(case) for case in own_cases]
        chosen.rounds = 1
    measurements = measure(chosen, own_cases)
    pathlib.Path(chosen.results + ".json").write_text(json.dumps(measurements, indent=1))
    head = ["what", "unit", "better", chosen.commit, "this build", "ratio", "least to greatest"]
    rows = [table_row(case, measurements[figures.key_of_case(case)]) for case in own_cases]
    text = HEAD.format(commit=chosen.commit, rounds=chosen.rounds) + report.table(head, rows)
    print(text)
    pathlib.Path(chosen.results + ".md").write_text(text)


if __name__ == "__main__":
    main()
