"""What the kernel says about processes: CPU seconds, memory, ports.

Rule of this file: it reads /proc and changes nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_LISTENING = "0A"


class Process(NamedTuple):
    parent: int
    cpu: float
    """Seconds, user and system, of the process and of its children that were waited for."""
    began: int
    """Start time in ticks: with the pid it names a process for good."""


@dataclass(slots=True)
class Memory:
    """Of a process and its descendants, in KiB. `pss` shares shared pages out among those who have them."""

    pss: int = 0
    rss: int = 0
    processes: int = 0


def processes() -> dict[int, Process]:
    """Every process by its pid."""
    found: dict[int, Process] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        words = stat[stat.rindex(b")") + 2 :].split()
        found[int(entry.name)] = Process(int(words[1]), sum(map(int, words[11:15])) / _TICKS_PER_SECOND, int(words[19]))
    return found


def descendants(roots: Iterable[int], among: dict[int, Process]) -> set[int]:
    """The roots that live, and all that they started."""
    children: dict[int, list[int]] = {}
    for pid, process in among.items():
        children.setdefault(process.parent, []).append(pid)
    family: set[int] = set()
    waiting = [root for root in roots if root in among]
    while waiting:
        pid = waiting.pop()
        if pid not in family:
            family.add(pid)
            waiting += children.get(pid, [])
    return family


def cpu(roots: Iterable[int]) -> float:
    """CPU seconds so far, user and system, of the processes and their descendants: in nanoseconds where the kernel counts
    them, else in its ticks."""
    among = processes()
    return sum(_nanoseconds(pid) / 1e9 or among[pid].cpu for pid in descendants(roots, among))


def _nanoseconds(pid: int) -> int:
    """On a processor, all threads that live; 0: not known."""
    try:
        return sum(int(file.read_text(encoding="ascii").split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    except OSError:
        return 0


def memory(roots: Iterable[int]) -> Memory:
    total = Memory()
    for pid in descendants(roots, processes()):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total.processes += 1
        for line in text.splitlines():
            if line.startswith("Pss:"):
                total.pss += int(line.split()[1])
            elif line.startswith("Rss:"):
                total.rss += int(line.split()[1])
    return total


def busy() -> float:
    """CPU seconds in which the machine as a whole was not idle."""
    with Path("/proc/stat").open(encoding="ascii") as file:
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    del idle, iowait
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_SECOND


def description() -> str:
    """The machine in a line."""
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        os.uname().machine,
    )
    return f"{os.cpu_count()} cores, {model}, Linux {os.uname().release.split('-')[0]}"


def taken(ports: Iterable[int]) -> list[int]:
    """Those of `ports` that somebody listens on."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    busy_ports = {int(words[1].split(":")[1], 16) for words in map(str.split, lines) if words[3] == _LISTENING}
    return sorted(busy_ports & set(ports))


def wait_for_port(port: int, seconds: float = 10) -> bool:
    """Whether something on the loopback interface answers on `port` in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False
