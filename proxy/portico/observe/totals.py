"""The numbers of several processes together.

Rule of this file: plain samples in (observe.metrics), plain samples out. What a process has counted stays in the sum when it has ended: a
counter never goes back (what it counted after it was last asked is lost with it). What it was, its gauges, goes with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from portico.observe.metrics import METRICS, Row, Samples

_COUNTED: Final = ("counter", "histogram")


def summed(all_samples: Iterable[Samples]) -> Samples:
    """Counters and histograms added; gauges as each wants it. What nobody has declared is left out."""
    merged: dict[str, dict[tuple[str, ...], Any]] = {}
    for samples in all_samples:
        for name, rows in samples.items():
            metric = METRICS.get(name)
            if metric is None:
                continue
            into = merged.setdefault(name, {})
            for *labels, value in rows:
                key = tuple(labels)
                known = into.get(key)
                into[key] = value if known is None else _together(metric.merge, known, value)
    return {name: [[*labels, value] for labels, value in rows.items()] for name, rows in merged.items()}


def _together(merge: str, one: Any, two: Any) -> Any:
    if isinstance(one, list):
        return [a + b for a, b in zip(one, two, strict=True)]
    return one + two if merge == "sum" else max(one, two) if merge == "max" else min(one, two)


def counted(samples: Samples) -> Samples:
    """Without gauges."""
    return {name: rows for name, rows in samples.items() if name in METRICS and METRICS[name].kind in _COUNTED}


class Totals:
    """What processes have said last, by their number, and what was counted by those that are not there any more."""

    __slots__ = ("_gone", "_last")

    def __init__(self) -> None:
        self._last: dict[int, Samples] = {}
        self._gone: Samples = {}

    def said(self, process: int, samples: Samples) -> None:
        self._last[process] = samples

    def ended(self, process: int) -> None:
        """Another one may get its number."""
        last = self._last.pop(process, None)
        if last is not None:
            self._gone = summed((self._gone, counted(last)))

    def together(self, *more: Samples) -> Samples:
        """The sum of all, and of `more`."""
        return summed((self._gone, *self._last.values(), *more))


def row(samples: Samples, name: str, *labels: str) -> Any:
    """The number (of a histogram: its row) with these labels; 0 where there is none."""
    found: Row | None = next((each for each in samples.get(name, ()) if each[:-1] == list(labels)), None)
    return found[-1] if found is not None else 0
