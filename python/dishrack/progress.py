"""How far the calls of a map are, for people: a bar of ``tqdm`` where that is installed."""

from __future__ import annotations

import sys
from typing import Any, Callable, Iterator, Optional, Union

from . import _native
from .errors import CallTimedOut, TimeoutError

__all__ = ["Meter", "Progress", "Shown", "meter_of"]

#: ``True`` shows a bar; a function is called with the number of results and, if it is known, of all.
Progress = Union[bool, Callable[[int, Optional[int]], object]]


class Meter:
    """Counts results, and shows it."""

    def __init__(self, progress: Progress, total: Optional[int], name: str) -> None:
        self._done, self._total = 0, total
        self._bar: Any = None
        if callable(progress):
            self._show = progress
            return
        self._name = name
        try:
            from tqdm.auto import tqdm
        except ImportError:
            self._show = self._write_line
        else:
            self._bar = tqdm(total=total, desc=name, unit="")
            self._show = self._move_bar

    def _move_bar(self, done: int, total: Optional[int]) -> None:
        self._bar.update(done - self._bar.n)

    def _write_line(self, done: int, total: Optional[int]) -> None:
        if sys.stderr is not None and sys.stderr.isatty():
            of = "" if total is None else f" of {total}"
            end = "\n" if done == total else ""
            sys.stderr.write(f"\r{self._name}: {done}{of}{end}")
            sys.stderr.flush()

    def add(self, count: int) -> None:
        """Counts so many more results."""
        self._done += count
        self._show(self._done, self._total)
        if self._done == self._total:
            self.close()

    def close(self) -> None:
        """Shows no more."""
        if self._bar is not None:
            self._bar.close()


def meter_of(progress: Progress, values: Any, func: Any) -> Optional[Meter]:
    """A meter for calls of a function with these values, if one is wanted."""
    if not progress:
        return None
    total = len(values) if hasattr(values, "__len__") else None
    return Meter(progress, total, getattr(func, "__name__", "calls"))


class Shown(Iterator[Any]):
    """Results, and a meter that moves as they are read."""

    def __init__(self, results: _native.Results, meter: Meter) -> None:
        self._results, self._meter = results, meter

    def __iter__(self) -> Shown:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: Optional[float] = None) -> Any:
        """The next result; `dishrack.TimeoutError` if none comes within so many seconds."""
        try:
            value = next(self._results) if timeout is None else self._results.next(timeout)
        except StopIteration:
            self._meter.close()
            raise
        except TimeoutError as error:
            if isinstance(error, CallTimedOut):
                self._meter.add(1)
            raise
        except Exception:
            self._meter.add(1)
            raise
        self._meter.add(1)
        return value
