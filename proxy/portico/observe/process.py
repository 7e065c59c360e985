"""What a process is: its memory, descriptors, processor time, and how late its loop is.

Rule of this file: found out when somebody asks, from /proc; on a system without it these samples are missing, nothing else.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from portico.observe.log import Log
from portico.observe.metrics import Samples

_BEAT: Final = 0.5
"""Seconds."""
_KEPT: Final = 60
"""Beats: half a minute."""
_STARTED_FIELD: Final = 19
"""Of /proc/self/stat, behind the name: starttime, in clock ticks since boot (proc_pid_stat(5))."""


class Lag:
    """How late a loop is. Begins to look when it is made; whoever wants none makes none."""

    __slots__ = ("_beats", "_clock", "_due", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic) -> None:
        self._loop = loop
        self._clock = clock
        self._beats: deque[float] = deque(maxlen=_KEPT)
        self._due = 0.0
        self._wait()

    def _wait(self) -> None:
        self._due = self._clock() + _BEAT
        self._loop.call_later(_BEAT, self._beat)

    def _beat(self) -> None:
        self._beats.append(max(0.0, self._clock() - self._due))
        self._wait()

    @property
    def seconds(self) -> float:
        """The worst of the last half minute."""
        return max(self._beats, default=0.0)


def process_samples(name: str, lag: Lag | None = None) -> Samples:
    """Of this process; `name`: what the label `worker` says."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found: Samples = {"portico_process_cpu_seconds_total": [[name, round(usage.ru_utime + usage.ru_stime, 3)]]}
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if most != resource.RLIM_INFINITY:
        found["portico_process_max_fds"] = [[name, most]]
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        found["portico_process_resident_bytes"] = [[name, pages * resource.getpagesize()]]
        found["portico_process_open_fds"] = [[name, sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1]]
        ticks = int(Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[_STARTED_FIELD])
        booted = next(line for line in Path("/proc/stat").read_text("ascii").splitlines() if line.startswith("btime"))
        found["portico_process_start_time_seconds"] = [[name, int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")]]
    if lag is not None:
        found["portico_loop_lag_seconds"] = [[name, round(lag.seconds, 4)]]
    return found


def log_samples(log: Log) -> Samples:
    """What this process has written to the log, and what it could not."""
    return {
        "portico_log_events_total": [[event, count] for event, count in log.counts.items()],
        "portico_log_lines_dropped_total": [[log.lost]],
    }
