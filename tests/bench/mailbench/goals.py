"""What Portico is to reach beside nginx, and whether it does.

Rule of this file: figures only, no measuring. Every goal is a ratio to nginx in the same run, taken within each round; judged is the
median over the rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailbench.measures import Row
from mailbench.report import Spread, compare, metric


@dataclass(slots=True, frozen=True)
class Bound:
    word: str
    """``<``, ``<=`` or ``>``."""
    ratio: float

    def holds(self, ratio: float) -> bool:
        if self.word == ">":
            return ratio > self.ratio
        return ratio < self.ratio or (self.word == "<=" and ratio == self.ratio)

    def __str__(self) -> str:
        return f"{self.word} {self.ratio:.1f}"


@dataclass(slots=True, frozen=True)
class Goal:
    title: str
    metric: str
    alone: Bound | None
    """No plugin is interested."""
    plugins: Bound | None
    """The three built-in plugins are on."""
    reference: str = "nginx"
    with_plugins: str = ""
    """What is measured with plugins, where that is another metric: the mail is ordinary mail."""

    @property
    def unit(self) -> str:
        """Of the reference's figure."""
        end = self.metric.rpartition("_")[2]
        return {"gib": " s", "ms": " ms", "us": " us", "kib": " KiB", "mib": " MiB", "s": "/s"}[end]


def below(ratio: float) -> Bound:
    return Bound("<", ratio)


def at_most(ratio: float) -> Bound:
    return Bound("<=", ratio)


_LARGE = "nginx-64k"
_MORE = Bound(">", 1.0)
GOALS = (
    Goal("bulk FETCH, CPU per GiB", "fetch_s_gib", below(1.0), below(1.1), _LARGE),
    Goal("bulk RETR, CPU per GiB", "retr_s_gib", below(1.0), below(1.1), _LARGE),
    Goal("ordinary mail, 400 messages by one FETCH, CPU per GiB", "mail_s_gib", below(1.0), below(1.1), _LARGE),
    Goal("ordinary mail, a RETR for each, CPU per message", "pop3_mail_us", below(1.0), below(1.1), _LARGE),
    Goal("listing 20,000 messages, CPU per GiB", "list_s_gib", below(1.0), below(3.0), _LARGE, "mail_list_s_gib"),
    Goal("APPEND, CPU per GiB", "append_s_gib", below(1.0), below(1.1)),
    Goal("session set-up, full handshake, CPU", "login_ms", at_most(1.0), at_most(1.2)),
    Goal("session set-up, TLS resumed, CPU", "resumed_ms", below(1.0), at_most(1.2)),
    Goal("round trip, 1 session, CPU", "command_us", at_most(1.1), at_most(1.5)),
    Goal("round trip, 64 sessions, CPU", "commands_us", at_most(1.1), at_most(1.5)),
    Goal("round trip, p50 added to direct", "command_p50_added_us", at_most(1.1), at_most(1.3)),
    Goal("round trip, p99 added to direct", "command_p99_added_us", at_most(1.1), at_most(1.3)),
    Goal("memory per session, 2,000 idle", "idle2000_kib", below(0.9), below(1.0)),
    Goal("memory per session, 9,000 idle", "idle9000_kib", below(0.9), below(1.0)),
    Goal("commands per second, 64 sessions", "commands64_per_s", _MORE, None),
    Goal("commands per second, 128 sessions", "commands128_per_s", _MORE, None),
    Goal("sign-ins per second, 64 at once", "logins64_per_s", _MORE, None),
    Goal("sign-ins per second, 128 at once", "logins128_per_s", _MORE, None),
)


@dataclass(slots=True, frozen=True)
class Judged:
    """One target at one goal."""

    ratio: Spread
    bound: Bound | None

    @property
    def word(self) -> str:
        """met, MISSED, or nothing where nothing was to be reached."""
        if self.bound is None:
            return ""
        return "met" if self.bound.holds(round(self.ratio.median, 2)) else "MISSED"


@dataclass(slots=True, frozen=True)
class Line:
    """One goal. None: there is no figure."""

    goal: Goal
    reference: float | None
    alone: Judged | None
    plugins: Judged | None


def judge(rows: Sequence[Row], alone: str = "portico", plugins: str = "portico-plugins") -> list[Line]:
    """All goals for which something was measured. `alone`, `plugins`: the targets that are judged."""
    tables = {reference: compare(rows, reference) for reference in {goal.reference for goal in GOALS}}
    lines = []
    for goal in GOALS:
        table = tables[goal.reference]

        def judged(target: str, name: str, bound: Bound | None) -> Judged | None:
            cell = table.get(name, {}).get(target)  # noqa: B023 - used in this turn only
            return Judged(cell.ratio, bound) if cell is not None and cell.ratio is not None else None

        base = table.get(goal.metric, {}).get(goal.reference)
        line = Line(
            goal,
            base.value.median if base is not None else None,
            judged(alone, goal.metric, goal.alone),
            judged(plugins, goal.with_plugins or goal.metric, goal.plugins),
        )
        if line.alone is not None or line.plugins is not None:
            lines.append(line)
    return lines


def markdown(lines: Iterable[Line]) -> str:
    """The table of docs/explanation/performance.md: nginx's own figure, then Portico's as ratios to it."""
    table = ["| | nginx | Portico | to reach | three plugins on | to reach |", "|---" * 6 + "|"]
    for line in lines:
        large = " (64 KiB buffers)" if line.goal.reference == _LARGE else ""
        form = metric(line.goal.metric).form
        base = form % line.reference + line.goal.unit if line.reference is not None else "-"
        table.append(f"| {line.goal.title} | {base}{large} | {_cell(line.alone)} | {_cell(line.plugins)} |")
    return "\n".join(table)


def _cell(judged: Judged | None) -> str:
    """Two columns of it."""
    if judged is None:
        return "- | "
    spread = judged.ratio
    text = f"**{spread.median:.2f}** ({spread.least:.2f}-{spread.greatest:.2f})"
    return f"{text} | {judged.bound}: {judged.word}" if judged.bound is not None else f"{text} | "


def verdicts(lines: Iterable[Line]) -> list[str]:
    """A sentence for each goal that was measured."""
    said = []
    for line in lines:
        for judged, how in ((line.alone, ""), (line.plugins, ", three plugins on")):
            if judged is not None and judged.bound is not None:
                said.append(f"{judged.word}: {line.goal.title}{how}: {judged.ratio.median:.2f}x, {judged.bound} was to be reached")
    return said
