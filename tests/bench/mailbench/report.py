"""Figures into a table and a file.

Rule of this file: everything is a ratio to one target of the same run. A ratio is taken within a round, where the two were
seconds apart; what is shown is the median over the rounds, with the least and the greatest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mailbench.measures import Row


@dataclass(slots=True, frozen=True)
class Metric:
    title: str
    form: str = "%.2f"
    more_is_better: bool = False


METRICS = {
    "login_ms": Metric("login, full handshake: CPU ms", "%.3f"),
    "resumed_ms": Metric("login, resumed: CPU ms", "%.3f"),
    "pop3_login_ms": Metric("POP3 login, full handshake: CPU ms", "%.3f"),
    "fetch_s_gib": Metric("download by FETCH: CPU s/GiB"),
    "retr_s_gib": Metric("download by RETR: CPU s/GiB"),
    "append_s_gib": Metric("upload by APPEND: CPU s/GiB"),
    "list_s_gib": Metric("listing: CPU s/GiB"),
    "mail_list_s_gib": Metric("listing of ordinary mail: CPU s/GiB"),
    "mail_s_gib": Metric("ordinary mail, all by one FETCH: CPU s/GiB"),
    "mail_each_us": Metric("ordinary mail, a FETCH each: CPU us per message", "%.0f"),
    "pop3_mail_us": Metric("ordinary mail by RETR: CPU us per message", "%.0f"),
    "list_first_ms": Metric("session that lists 20,000 messages, first time: CPU ms", "%.1f"),
    "list_again_ms": Metric("the same again: CPU ms", "%.1f"),
    "command_us": Metric("round trip, 1 session: CPU us", "%.1f"),
    "commands_us": Metric("round trip, 64 sessions: CPU us", "%.1f"),
    "command_p50_added_us": Metric("round trip, 1 session: p50 us, added to direct", "%.0f"),
    "command_p99_added_us": Metric("round trip, 1 session: p99 us, added to direct", "%.0f"),
    "login_per_s": Metric("logins per second, full handshake", "%.0f", more_is_better=True),
    "resumed_per_s": Metric("logins per second, resumed", "%.0f", more_is_better=True),
    "pop3_login_per_s": Metric("POP3 logins per second", "%.0f", more_is_better=True),
    "fetch_mib_s": Metric("download by FETCH: MiB/s", "%.0f", more_is_better=True),
    "retr_mib_s": Metric("download by RETR: MiB/s", "%.0f", more_is_better=True),
    "append_mib_s": Metric("upload by APPEND: MiB/s", "%.0f", more_is_better=True),
    "list_mib_s": Metric("listing: MiB/s", "%.0f", more_is_better=True),
    "mail_list_mib_s": Metric("listing of ordinary mail: MiB/s", "%.0f", more_is_better=True),
    "command_p50_us": Metric("round trip, 1 session: p50 us", "%.0f"),
    "command_p99_us": Metric("round trip, 1 session: p99 us", "%.0f"),
    "commands64_per_s": Metric("commands per second, 64 sessions", "%.0f", more_is_better=True),
    "commands128_per_s": Metric("commands per second, 128 sessions", "%.0f", more_is_better=True),
    "logins64_per_s": Metric("logins per second, 64 at once", "%.0f", more_is_better=True),
    "logins128_per_s": Metric("logins per second, 128 at once", "%.0f", more_is_better=True),
}
LINKS_EXPECTED = dict.fromkeys(("fetch_s_gib", "retr_s_gib", "mail_s_gib", "mail_each_us", "pop3_mail_us"), 1.05)
"""What `portico-links` may cost as a ratio to `portico`."""
_IDLE = re.compile(r"idle(\d+)_(kib|mib)")


def metric(name: str) -> Metric:
    """The declaration of a metric by its name; those of idle sessions carry their number."""
    found = _IDLE.fullmatch(name)
    if found is None:
        return METRICS[name]
    if found[2] == "kib":
        return Metric(f"{found[1]} idle sessions: KiB each", "%.1f")
    return Metric(f"{found[1]} idle sessions: MiB in all", "%.0f")


def _order(name: str) -> tuple[int, int, str]:
    names = list(METRICS)
    found = _IDLE.fullmatch(name)
    return (names.index("command_us"), int(found[1]), name) if found else (names.index(name), 0, name)


@dataclass(slots=True, frozen=True)
class Spread:
    """Over the rounds."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), median(values), max(values))


@dataclass(slots=True, frozen=True)
class Cell:
    """One target in one metric. `ratio` is None where the reference has no figure."""

    value: Spread
    ratio: Spread | None


def compare(rows: Iterable[Row], reference: str) -> dict[str, dict[str, Cell]]:
    """Metric to target to what was measured, the metrics in the order in which they are shown."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        values.setdefault(row.metric, {}).setdefault(row.target, {})[row.round] = row.value
    table: dict[str, dict[str, Cell]] = {}
    for name in sorted(values, key=_order):
        base = values[name].get(reference, {})
        for target, by_round in values[name].items():
            ratios = [value / base[number] for number, value in by_round.items() if base.get(number, 0) > 0]
            cell = Cell(Spread.of(list(by_round.values())), Spread.of(ratios) if ratios else None)
            table.setdefault(name, {})[target] = cell
    return table


def markdown(table: dict[str, dict[str, Cell]], targets: Sequence[str], reference: str) -> str:
    """A table: a row for each metric, a column for each target: the median, and its ratio to `reference` (least to greatest)."""
    lines = ["| | " + " | ".join(targets) + " |", "|---" * (len(targets) + 1) + "|"]
    for name, cells in table.items():
        declared = metric(name)
        row = [declared.title + (" (more is better)" if declared.more_is_better else "")]
        for target in targets:
            cell = cells.get(target)
            if cell is None:
                row.append("-")
                continue
            text = declared.form % cell.value.median
            if cell.ratio is not None and target != reference:
                text += f" = {cell.ratio.median:.2f}x"
                if cell.ratio.least != cell.ratio.greatest:
                    text += f" ({cell.ratio.least:.2f}-{cell.ratio.greatest:.2f})"
            row.append(text)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def added(rows: Sequence[Row]) -> list[Row]:
    """What a proxy adds to the time of a round trip at the backend itself (`direct`), in the same round."""
    direct = {(row.metric, row.round): row.value for row in rows if row.target == "direct"}
    return [
        Row(row.target, row.metric.replace("_us", "_added_us"), row.round, row.value - direct[row.metric, row.round])
        for row in rows
        if row.metric in ("command_p50_us", "command_p99_us") and row.target != "direct" and (row.metric, row.round) in direct
    ]


def verdicts(table: dict[str, dict[str, Cell]], target: str, expectations: Mapping[str, float]) -> list[str]:
    """What was expected of `target`, and whether it came true; nothing where it was not measured."""
    said = []
    for name, cells in table.items():
        expected, cell = expectations.get(name), cells.get(target)
        if expected is None or cell is None or cell.ratio is None:
            continue
        word = "met" if cell.ratio.median <= expected else "MISSED"
        said.append(f"{word}: {metric(name).title}: {cell.ratio.median:.2f}x, at most {expected:.2f}x expected")
    return said
