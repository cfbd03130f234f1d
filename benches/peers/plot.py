"""A picture of the main rows: bars on a logarithmic axis, as SVG.

Only the standard library. The picture has a light ground of its own, so that it can be read on a
dark page as well.
"""

import math
from xml.sax.saxutils import escape

import figures

WIDTH = 880
LABELS = 300
BARS = 460
BAR = 15
STEP = 21
MARGIN = 20

OURS, PEER, BOUND = "#0b7285", "#a5b1bb", "#343a40"
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"

# Row, workers, title, what the axis is.
PANELS = [
    ("throughput", 2, "Small items, 2 workers", "items/s, more is better"),
    ("round-trip", 1, "Round trip of one item", "microseconds, less is better"),
    ("large", 2, "Items of 1 MiB, 2 workers", "MiB/s, more is better"),
    ("start", 16, "Start of 16 workers", "ms, less is better"),
    ("commands", 2, "2,000 runs of a command, 2 workers", "s, less is better"),
    ("hedging", 8, "Time of an item where 1 of 50 hangs, 8 workers", "ms, 99 % within, less is better"),
]


def text(x, y, words, size=12, anchor="start", weight="normal", fill="#212529"):
    look = f"font-size='{size}' text-anchor='{anchor}' font-weight='{weight}' fill='{fill}'"
    return f"<text x='{x:.1f}' y='{y:.1f}' {FONT} {look}>{escape(words)}</text>"


def short(value):
    for bound, unit in ((1e6, " M"), (1e3, " k")):
        if value >= bound:
            return f"{value / bound:.3g}{unit}"
    return f"{value:.3g}"


class Axis:
    """Powers of ten to pixels."""

    def __init__(self, values):
        self.low = math.floor(math.log10(min(values)))
        # Bars need some length, and the greatest some room.
        if math.log10(min(values)) - self.low < 0.15:
            self.low -= 1
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)

    def x(self, value):
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return LABELS + BARS * part

    def powers(self):
        return [10.0**power for power in range(self.low, self.high + 1)]


def bar(axis, y, case, found):
    median, least, greatest = found
    is_ours = case.label.startswith("dishrack")
    middle, end = y + BAR / 2, axis.x(median)
    look = f"fill='{OURS if is_ours else PEER}'"
    yield text(LABELS - 8, y + BAR - 3, case.label, 12, "end", "bold" if is_ours else "normal")
    yield f"<rect x='{LABELS}' y='{y}' width='{end - LABELS:.1f}' height='{BAR}' {look}/>"
    ends = f"x1='{axis.x(least):.1f}' x2='{axis.x(greatest):.1f}'"
    yield f"<line {ends} y1='{middle}' y2='{middle}' stroke='{BOUND}' stroke-width='1.5'/>"
    yield text(max(end, axis.x(greatest)) + 6, y + BAR - 3, short(median), 12)


def panel(top, title, unit, bars):
    """The parts of a panel, and where the next one begins."""
    parts = [text(MARGIN, top + 16, title, 15, weight="bold")]
    parts.append(text(LABELS + BARS, top + 16, unit, 12, "end", fill="#495057"))
    first, last = top + 28, top + 28 + STEP * len(bars)
    axis = Axis([value for _, found in bars for value in found])
    for power in axis.powers():
        x = axis.x(power)
        parts.append(
            f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{first}' y2='{last}' stroke='#e3e7ea'/>"
        )
        parts.append(text(x, last + 13, short(power), 11, "middle", fill="#495057"))
    for number, (case, found) in enumerate(bars):
        parts += bar(axis, first + STEP * number + 3, case, found)
    return parts, last + 34


def svg(data, cases):
    measurements = data["measurements"]
    parts, top = [], MARGIN
    for row, workers, title, unit in PANELS:
        chosen = [case for case in cases if case.row == row]
        chosen = [case for case in chosen if case.options.get("workers", 1) == workers]
        found = [(case, figures.summary(measurements, figures.key_of_case(case))) for case in chosen]
        bars = [(case, values) for case, values in found if values and values[1] > 0]
        if bars:
            panel_parts, top = panel(top, title, unit, bars)
            parts += panel_parts
    machine = dict(map(tuple, data["machine"]))
    words = f"Medians of {data['rounds']} rounds; lines from the least to the greatest. "
    words += f"{machine['CPU']}, {machine['kernel']}, Python {machine['Python']}, {machine['date']}."
    parts.append(text(MARGIN, top + 4, words, 11, fill="#495057"))
    height = top + 4 + MARGIN
    ground = f"<rect width='{WIDTH}' height='{height}' rx='10' fill='#ffffff' stroke='#ced4da'/>"
    size = f"width='{WIDTH}' height='{height}' viewBox='0 0 {WIDTH} {height}'"
    opening = f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img'>"
    name = "<title>dishrack and its peers on the same work</title>"
    return "\n".join([opening, name, ground, *parts, "</svg>"]) + "\n"
