"""What a soak sees of Portico's processes, and what it makes of it. See README.md here.

Rule of this file: `look` reads /proc; `verdict` is a function of samples alone, so that a run whose end broke can be judged still, and made-up
curves can be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.mailbench import machine

THIRDS: Final = 3
"""In the first third of a run caches fill and the allocator takes what it needs at once; it is not judged."""
ALLOWED: Final = 1.5
"""MiB that one process may hold more in the last third than in the middle one: what an allocator keeps of what was in use at once is chance, and
an arena of Python's is one MiB."""


@dataclass(slots=True, frozen=True)
class Held:
    """By one process. MiB are of memory that is nobody's file: Pss as a whole rises when another program ends that had the same libraries."""

    pid: int
    name: str
    mib: float
    heap: float
    """Of these: what malloc has from brk(2)."""
    shared_out: float
    """Pss of all its memory: what it shares is divided among those who do."""
    descriptors: int
    threads: int


@dataclass(slots=True, frozen=True)
class Sample:
    """Everything when nobody is signed in but who stays."""

    at: float
    """Seconds since the beginning."""
    visits: int
    cpu: float
    """Seconds, of all processes so far."""
    held: tuple[Held, ...]

    @property
    def mib(self) -> float:
        return sum(one.mib for one in self.held)

    @property
    def descriptors(self) -> int:
        return sum(one.descriptors for one in self.held)

    def line(self) -> str:
        each = " ".join(f"{one.name} {one.mib:.2f}" for one in self.held)
        return (
            f"{self.at:6.0f} s {self.visits:7d} visits {self.cpu:7.1f} s CPU {self.mib:8.2f} MiB ({each}) {self.descriptors:4d} descriptors"
        )

    def json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Sample:
        said: dict[str, Any] = json.loads(line)
        return cls(said["at"], said["visits"], said["cpu"], tuple(Held(**one) for one in said["held"]))


def family(pid: int) -> dict[int, str]:
    """All processes that come from the supervisor, it too, by what they are."""
    among = machine.processes()
    names = {pid: "supervisor"}
    for one in sorted(machine.descendants([pid], among) - {pid}):
        names[one] = "nursery" if among[one].parent == pid else f"worker{len(names) - 1}"
    return names


def look(pid: int, at: float, visits: int) -> Sample:
    return Sample(round(at, 1), visits, round(machine.cpu([pid]), 2), tuple(_held(one, name) for one, name in family(pid).items()))


def _held(pid: int, name: str) -> Held:
    process = Path(f"/proc/{pid}")
    rollup = (process / "smaps_rollup").read_text(encoding="ascii")
    heap = re.search(r"\[heap\]\n.*?^Anonymous:\s+(\d+)", (process / "smaps").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)

    def mib(word: str) -> float:
        found = re.search(rf"^{word}:\s+(\d+)", rollup, re.MULTILINE)
        return round(int(found[1]) / 1024, 3) if found else 0.0

    return Held(
        pid,
        name,
        mib("Anonymous"),
        round(int(heap[1]) / 1024, 3) if heap else 0.0,
        mib("Pss"),
        len(list((process / "fd").iterdir())),
        len(list((process / "task").iterdir())),
    )


@dataclass(slots=True, frozen=True)
class Growth:
    """Of one process."""

    name: str
    middle: float
    """MiB: the median of the samples of the middle third. One sample that is off moves no median, and a step that stays moves the last one."""
    last: float
    """The same of the last third."""
    scatter: float
    """How far samples are from the median of their third, in the median: what a growth that means something is larger than."""
    visits: float
    """From the middle of the one third to that of the other."""

    @property
    def mib(self) -> float:
        return self.last - self.middle

    @property
    def per_visit(self) -> float:
        """KiB: what a leak would be."""
        return self.mib * 1024 / max(1.0, self.visits)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.mib:+.2f} MiB, from {self.middle:.2f} to {self.last:.2f} ({self.per_visit:+.3f} KiB for each visit; "
            f"samples are {self.scatter:.2f} off)"
        )


def growth(name: str, samples: Sequence[Sample], of: Callable[[Sample], float]) -> Growth:
    third = len(samples) // THIRDS
    middle, last = samples[-2 * third : -third], samples[-third:]
    before, after = median(map(of, middle)), median(map(of, last))
    off = [abs(of(sample) - before) for sample in middle] + [abs(of(sample) - after) for sample in last]
    visits = median(sample.visits for sample in last) - median(sample.visits for sample in middle)
    return Growth(name, before, after, median(off), visits)


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """Of each process of the first sample."""
    return [growth(one.name, samples, lambda sample, i=i: sample.held[i].mib) for i, one in enumerate(samples[0].held)]


def verdict(samples: Sequence[Sample]) -> list[str]:
    """What is wrong; at least six samples."""
    if len(samples) < 6:
        return [f"{len(samples)} samples are too few"]
    first = [one.pid for one in samples[0].held]
    if any([one.pid for one in sample.held] != first for sample in samples):
        return ["the processes are not those of the beginning"]
    wrong = [f"memory has grown: {one}" for one in growths(samples) if one.mib > ALLOWED]
    begun = samples[: len(samples) // THIRDS]
    for i, one in enumerate(samples[-1].held):
        most = max(sample.held[i].descriptors for sample in begun)
        if one.descriptors > most:
            wrong.append(f"descriptors of the {one.name} have grown from {most} to {one.descriptors}")
        most = max(sample.held[i].threads for sample in begun)
        if one.threads > most:
            wrong.append(f"threads of the {one.name} have grown from {most} to {one.threads}")
    return wrong
