"""How it grows: with the sessions that stay, the sessions that are at work, and the length of a mailbox.

Rule of this file: each target is fresh for each kind of steps, or memory that earlier ones left would hide what later ones take. What is to be constant is said to be so only if every step is within 10% of the
median of the steps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from mailbench import machine
from mailbench.load import Target
from mailbench.measures import Measures, Row
from mailbench.plan import ACTIVE_STEPS, IDLE_STEPS, LISTED_STEPS
from mailbench.stay import Staying

CONSTANT = 0.10
_AMONG = 16
"""Sessions at work while others stay."""
_LOOK = 0.03
"""Seconds between two looks at memory that changes."""

TITLES = {
    "idle_kib": ("sessions in IDLE", "memory of each, KiB", "%.1f"),
    "idle_login_ms": ("sessions in IDLE", "sign-in of those that came last, CPU ms each", "%.3f"),
    "idle_command_us": ("sessions in IDLE", f"round trip of {_AMONG} others meanwhile, CPU us", "%.1f"),
    "active_us": ("sessions at work", "round trip, CPU us", "%.1f"),
    "active_mib": ("sessions at work", "memory that they add, at most, MiB in all", "%.2f"),
    "listed1_mib": ("messages listed", "memory added by one session that lists, at most, MiB", "%.2f"),
    "listed4_mib": ("messages listed", "memory added by four at once, at most, MiB", "%.2f"),
}
"""What is measured at several steps: of what, title, form."""
TO_BE_CONSTANT = ("idle_kib", "idle_login_ms", "idle_command_us", "active_us")
_ORDER = list(TITLES)


class Peak:
    """The greatest Pss of some processes while a block runs, in KiB."""

    def __init__(self, pids: Sequence[int]) -> None:
        self.before = self.greatest = machine.memory(pids).pss
        self._pids = pids

    @property
    def grown(self) -> float:
        """MiB."""
        return (self.greatest - self.before) / 1024

    def _look(self, ended: threading.Event) -> None:
        while not ended.wait(_LOOK):
            self.greatest = max(self.greatest, machine.memory(self._pids).pss)

    @contextmanager
    def watched(self) -> Iterator[None]:
        ended = threading.Event()
        looking = threading.Thread(target=self._look, args=(ended,))
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join()


def idle(measures: Measures, target: Target) -> None:
    fresh, before, cpu = machine.memory(target.pids).pss, 0, machine.cpu(target.pids)
    for count in Staying(measures, target, IDLE_STEPS):
        spent = machine.cpu(target.pids) - cpu
        measures.note(target, f"idle_kib@{count}", (machine.memory(target.pids).pss - fresh) / count)
        measures.note(target, f"idle_login_ms@{count}", spent / (count - before) * 1e3)
        _commands(measures, target, _AMONG, f"idle_command_us@{count}")
        before, cpu = count, machine.cpu(target.pids)


def active(measures: Measures, target: Target) -> None:
    for count in ACTIVE_STEPS:
        peak = Peak(target.pids)
        with peak.watched():
            _commands(measures, target, count, f"active_us@{count}")
        measures.note(target, f"active_mib@{count}", peak.grown)


def _commands(measures: Measures, target: Target, sessions: int, metric: str) -> None:
    total = measures.plan.commands * (1 if sessions == 1 else 3)
    sample = measures.run("cmd", target, n=max(1, total // sessions) * sessions, conns=sessions, cmd="NOOP", max_s=6)
    if not sample.clean or sample.cmds < sessions:
        measures.refused(target, metric, sample)
        return
    measures.note(target, metric, sample.proxy_cpu / sample.cmds * 1e6)


def listed(measures: Measures, target: Target) -> None:
    for sessions in (1, 4):
        for messages in LISTED_STEPS:
            peak = Peak(target.pids)
            with peak.watched():
                sample = measures.run(
                    "cmd", target, n=sessions * 2, conns=sessions, user="big", mailbox=f"LIST-{messages}",
                    cmd="UID FETCH 1:* (UID FLAGS RFC822.SIZE ENVELOPE)", expect_untagged=messages, timeout=120,
                )  # fmt: skip
            if not sample.clean or sample.cmds != sessions * 2:
                measures.refused(target, f"listing {messages} messages", sample)
                continue
            measures.note(target, f"listed{sessions}_mib@{messages}", peak.grown)


KINDS = (idle, active, listed)
"""Of steps."""


def steps_of(rows: Iterable[Row]) -> dict[str, dict[str, dict[int, float]]]:
    """What is measured, to target, to step: the median over the rounds."""
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for row in rows:
        name, at, step = row.metric.partition("@")
        if at:
            found.setdefault(name, {}).setdefault(row.target, {}).setdefault(int(step), []).append(row.value)
    return {
        name: {target: {step: median(values) for step, values in steps.items()} for target, steps in targets.items()}
        for name, targets in sorted(found.items(), key=lambda pair: _ORDER.index(pair[0]))
    }


def markdown(rows: Iterable[Row]) -> str:
    """A table for each kind of steps."""
    lines: list[str] = []
    kind = ""
    for name, targets in steps_of(rows).items():
        of, title, form = TITLES[name]
        steps = sorted({step for by_step in targets.values() for step in by_step})
        if of != kind:
            kind = of
            lines += ["", f"| {of} | | " + " | ".join(f"{step:,}" for step in steps) + " |", "|---" * (len(steps) + 2) + "|"]
        for number, (target, by_step) in enumerate(targets.items()):
            figures = [form % by_step[step] if step in by_step else "-" for step in steps]
            lines.append(f"| {title if not number else ''} | {target} | " + " | ".join(figures) + " |")
    return "\n".join(lines[1:])


def verdicts(rows: Iterable[Row]) -> list[str]:
    """For each target, whether what is to be constant is, and where it is not."""
    said = []
    for name, targets in steps_of(rows).items():
        if name not in TO_BE_CONSTANT:
            continue
        of, title, form = TITLES[name]
        for target, by_step in targets.items():
            middle = median(by_step.values())
            off = [step for step, value in sorted(by_step.items()) if abs(value - middle) > CONSTANT * middle]
            if not off:
                said.append(f"constant: {target}: {of}: {title}: {form % middle} within 10%")
            else:
                where = ", ".join(f"{form % by_step[step]} at {step:,}" for step in off)
                said.append(f"NOT CONSTANT: {target}: {of}: {title}: {form % middle} in the middle, {where}")
    return said
