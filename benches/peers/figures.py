"""Medians and ratios of what was measured. Pure sums: nothing here runs or prints anything.

Measurements are kept by row, name and workers, one for each round in which the contender ran.
"""

import statistics


def key_of(row, name, workers):
    return f"{row}/{name}/{workers}"


def key_of_case(case):
    return key_of(case.row, case.name, case.options.get("workers", 1))


def values(measurements, key, figure="value"):
    """The figures by round, None where there is none. `figure` may name one that explains others."""
    return [line.get(figure) for line in measurements.get(key, [])]


def summary(measurements, key, figure="value"):
    """Median, least and greatest; None if it was never measured."""
    known = [value for value in values(measurements, key, figure) if value is not None]
    return (statistics.median(known), min(known), max(known)) if known else None


def ratio(measurements, key, other, figure="value"):
    """The median of the ratios within each round, so that what slows a round down counts on both
    sides."""
    pairs = zip(values(measurements, key, figure), values(measurements, other, figure))
    known = [ours / theirs for ours, theirs in pairs if ours is not None and theirs]
    return statistics.median(known) if known else None


def failure(measurements, key):
    """Why there is no figure, or not one for each round."""
    lines = measurements.get(key, [])
    return next((line["failed"] for line in lines if "failed" in line), None)


def own_figure(measurements, target):
    key = key_of(target.row, target.name, target.workers)
    found = summary(measurements, key, target.figure)
    return found[0] if found else None


def target_figure(measurements, target):
    if target.other is None:
        return own_figure(measurements, target)
    ours = key_of(target.row, target.name, target.workers)
    other = key_of(target.row, target.other, target.workers)
    return ratio(measurements, ours, other, target.figure)


def is_met(measurements, target):
    """Whether a target whose figure is known is met."""
    return target.is_met(target_figure(measurements, target))
