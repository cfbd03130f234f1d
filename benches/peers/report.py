"""The table of what was measured, as Markdown.

It neither measures nor draws: what it gets is what compare.py has collected.
"""

import figures

HEAD = """# Measured against the peers

Made by `benches/run`{how}; do not edit. Every contender ran once in each round, in turns; figures
are medians over {rounds} rounds (fewer where it says so), ratios are medians of the ratios within
each round.

"""

# What may explain a figure, by its name in a measurement: what it is called, and its unit.
EXPLAINING = {
    "p99_us": ("99 % within", "us"),
    "median_ms": ("half within", "ms"),
    "runs": ("runs of an item", ""),
    "bytes": ("more memory of an item", "B"),
    "busy_s": ("workers busy", "s"),
    "replaced": ("workers replaced", ""),
    "elapsed_s": ("all done in", "s"),
    "ready_ms": ("ready after", "ms"),
    "idle_ms": ("longest idle", "ms"),
    "efficiency": ("efficiency", "%"),
    "peak": ("at the peak", "B"),
    "put_s": ("put in", "s"),
    "start_s": ("start", "s"),
    "serve_s": ("serve", "s"),
    "stop_s": ("stop", "s"),
    "supervisor_mib": ("supervisor", "MiB"),
    "worker_kib": ("each worker", "KiB"),
    "switches": ("wake-ups without strace", ""),
    "server_ms": ("redis-server", "ms"),
}


def number(value):
    """With three figures, and readable."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def explanation(lines):
    known = [line for line in lines if "value" in line]
    parts = []
    for name, (text, unit) in EXPLAINING.items():
        found = sorted(line[name] for line in known if name in line)
        if found:
            parts.append(f"{text} {number(found[len(found) // 2])} {unit}".strip())
    return ", ".join(parts)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def target_rows(measurements, targets):
    for target in targets:
        what, goal = target.text
        figure = figures.target_figure(measurements, target)
        if figure is None:
            yield what, goal, "not measured", ""
        else:
            verdict = "met" if figures.is_met(measurements, target) else "**missed**"
            yield what, goal, number(figure), verdict


def contender_row(case, measurements):
    key = figures.key_of_case(case)
    lines = measurements.get(key, [])
    found = figures.summary(measurements, key)
    failed = figures.failure(measurements, key)
    options = case.options
    items = f"{options['items']:,}" if "items" in options else ""
    cells = [case.label, f"{options.get('workers', 1):,}", items]
    if found is None:
        return [*cells, failed or "not measured", "", "", ""]
    ours = case.ours and figures.key_of(case.row, case.ours, options.get("workers", 1))
    ratio = ours and ours != key and figures.ratio(measurements, ours, key)
    more = explanation(lines)
    if failed:
        more = ", ".join(filter(None, [more, f"one round: {failed}"]))
    spread = f"{number(found[1])} to {number(found[2])}"
    return [*cells, number(found[0]), spread, number(ratio) if ratio else "", more]


def row_section(row, cases, measurements):
    cases = [case for case in cases if figures.key_of_case(case) in measurements]
    if not cases:
        return ""
    head = ["contender", "workers", "items", row.unit, "least to greatest", "ours / it", "and"]
    body = table(head, [contender_row(case, measurements) for case in cases])
    return f"## {row.title}\n\n{row.note} {row.better.capitalize()} is better.\n\n{body}\n"


def markdown(data, rows, cases, targets):
    measurements = data["measurements"]
    measured_rows = {key.partition("/")[0] for key in measurements}
    chosen = [target for target in targets if target.row in measured_rows]
    how = " --quick, so for a first impression only" if data["quick"] else ""
    text = HEAD.format(rounds=data["rounds"], how=how)
    text += table(["machine", ""], [list(pair) for pair in data["machine"]])
    text += "\n## Targets\n\n"
    head = ["what", "target", "measured", ""]
    text += table(head, target_rows(measurements, chosen)) + "\n"
    by_row = ((row, [case for case in cases if case.row == row.name]) for row in rows)
    sections = (row_section(row, own, measurements) for row, own in by_row)
    return (text + "".join(sections)).rstrip() + "\n"
