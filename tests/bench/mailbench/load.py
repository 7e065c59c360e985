"""The load generator, called and understood.

Rule of this file: one call is one Sample: what the client saw, what the proxy's processes used of CPU, what the backend counted.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mailbench import machine


@dataclass(slots=True)
class Target:
    """A proxy (or the backend itself) that is measured."""

    name: str
    imap: int
    pop3: int
    pids: list[int]
    tls: bool = True
    speaks_pop3: bool = True
    store: bool = False
    """A public store is behind it, too."""
    fresh: machine.Memory = field(default_factory=machine.Memory)
    """Its memory right after the start, before any session."""

    def arguments(self, *, pop3: bool = False) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(self.pop3 if pop3 else self.imap)]
        return where + ([] if self.tls else ["--plain"]) + (["--pop3"] if pop3 else [])


@dataclass(slots=True)
class Sample:
    """What native/load.c prints, and what was seen from outside. Times in seconds, latencies in microseconds."""

    started: int = 0
    finished: int = 0
    failed: int = 0
    timeout: int = 0
    why: str = ""
    wall: float = 0
    cmd_wall: float = 0
    cmds: int = 0
    literal_bytes: int = 0
    bytes_in: int = 0
    resumed: int = 0
    ready: int = 0
    dones: int = 0
    client_cpu: float = 0
    p50_us: float = 0
    p99_us: float = 0
    tls: str = ""
    proxy_cpu: float = 0
    foreign_cores: float = 0
    """Cores used by others than client, proxy and backend."""
    backend: dict[str, int] = field(default_factory=dict)
    """How far the null server's counters went: logins, bad, cmds, fetched, appended."""

    @property
    def clean(self) -> bool:
        return self.failed == 0 and self.timeout == 0


_NAMES = {item.name for item in fields(Sample)} - {"proxy_cpu", "foreign_cores", "backend"}


def parse(printed: str, error: str = "") -> Sample:
    """The Sample in what the load generator printed; a failed one where it printed none."""
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    if not lines:
        return Sample(failed=-1, why=error.strip()[-200:] or "the load generator said nothing")
    said: dict[str, Any] = json.loads(lines[-1])
    return Sample(**{name: value for name, value in said.items() if name in _NAMES})


class Load:
    """Runs the load generator and counts around it."""

    def __init__(self, program: Path, backend_pids: list[int], null_port: int | None) -> None:
        self.program = program
        self._backend_pids = backend_pids
        self._null_port = null_port
        """Where the null server is asked for its counters; None: another backend."""

    @property
    def counts(self) -> bool:
        """The backend counts what reaches it."""
        return self._null_port is not None

    def run(self, mode: str, target: Target, *, pop3: bool = False, timeout: int = 60, **options: str | float | bool | None) -> Sample:
        """One run; options are those of load.c with ``_`` for ``-``; None and False leave one out."""
        argv = [str(self.program), mode, *target.arguments(pop3=pop3), "--timeout", str(timeout)]
        for name, value in options.items():
            option = "--" + name.rstrip("_").replace("_", "-")
            if value is True:
                argv.append(option)
            elif value is not None and value is not False:
                argv += [option, str(value)]
        counted, proxy, backend = self._counters(), machine.cpu(target.pids), machine.cpu(self._backend_pids)
        began, busy = time.monotonic(), machine.busy()
        try:
            run = subprocess.run(argv, capture_output=True, text=True, timeout=timeout + 30, check=False)
            sample = parse(run.stdout, run.stderr)
        except subprocess.TimeoutExpired:
            sample = Sample(failed=-1, timeout=1, why="the load generator did not end")
        time.sleep(0.06)  # what the proxy does after the last octet counts too
        sample.proxy_cpu = machine.cpu(target.pids) - proxy
        elapsed = time.monotonic() - began
        ours = sample.proxy_cpu + sample.client_cpu
        if target.pids != self._backend_pids:
            ours += machine.cpu(self._backend_pids) - backend
        sample.foreign_cores = max(0.0, machine.busy() - busy - ours) / elapsed
        after = self._counters()
        sample.backend = {name: after[name] - counted[name] for name in after if name in counted}
        return sample

    def _counters(self) -> dict[str, int]:
        if self._null_port is None:
            return {}
        said = b""
        with socket.create_connection(("127.0.0.1", self._null_port), 5) as connection:
            connection.sendall(b"x XSTATS\r\n")
            while b"x OK" not in said:
                piece = connection.recv(4096)
                if not piece:
                    break
                said += piece
        return {name.decode(): int(value) for name, value in re.findall(rb"(\w+)=(\d+)", said)}
