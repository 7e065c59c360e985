"""Sessions that stay in IDLE, in steps.

Rule of this file: at each step all sessions stand still while the proxy is looked at; at the end every one must answer DONE. What is
measured is what the processes have grown since they were fresh (Pss of all of them; the kernel's socket memory is not in it).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from mailbench import machine
from mailbench.load import Sample, Target, parse
from mailbench.measures import Measures

_SETTLED = 1.5
"""Seconds after the last sign-in."""


class Staying:
    """The sessions of one run of the load generator."""

    def __init__(self, measures: Measures, target: Target, steps: Sequence[int]) -> None:
        self._measures = measures
        self._target = target
        self._steps = steps
        self.last = Sample()
        """What was seen at the end."""

    def __iter__(self) -> Iterator[int]:
        """The steps, each once its sessions are there. It ends early, with a note, where some are refused."""
        steps = ",".join(map(str, self._steps))
        argv = [
            str(self._measures.load.program), "idle", *self._target.arguments(), "--n", str(self._steps[-1]), "--stages", steps,
            "--conns", "64", "--nsrc", "8", "--timeout", "90",
        ]  # fmt: skip
        with _client(argv) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            for count in self._steps:
                said = client.stdout.readline()
                if said.split()[:2] != ["READY", str(count)]:
                    rest = said if said.startswith("{") else said.strip()
                    self._measures.refused(self._target, f"{count} idle sessions", parse(rest, f"{rest}, not READY {count}"))
                    return
                time.sleep(_SETTLED)
                yield count
                client.stdin.write("on\n")
                client.stdin.flush()
            self.last = parse(client.stdout.readline())
        if self.last.dones != self._steps[-1]:
            self._measures.refused(self._target, f"{self._steps[-1]} idle sessions: {self.last.dones} answered DONE", self.last)


@contextmanager
def _client(argv: list[str]) -> Iterator[subprocess.Popen[str]]:
    client = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield client
    finally:
        client.kill()
        client.wait()
        for pipe in (client.stdin, client.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def idle(measures: Measures, target: Target) -> None:
    """What sessions in IDLE add to the proxy's processes, for one of them, and all that these have. `target` is fresh."""
    figures: list[tuple[str, float]] = []
    staying = Staying(measures, target, measures.plan.idle)
    for count in staying:
        used = machine.memory(target.pids).pss
        figures += [(f"idle{count}_kib", (used - target.fresh.pss) / count), (f"idle{count}_mib", used / 1024)]
    if staying.last.dones == measures.plan.idle[-1]:
        for metric, value in figures:
            measures.note(target, metric, value)
