"""Backends and peers, started and ended.

Rule of this file: what a peer needs and the machine lacks is a note, never a failure; a port that is in use stops the run before it begins.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mailbench import build, certificate, dovecot, machine
from mailbench.children import Children
from mailbench.load import Target
from mailbench.peers import PEERS, Backend, Place, missing

PORTS_PER_PEER = 3
_PEERS_AT = 10
"""Ports of a run before this one are the backends'."""
PORTS = 60
_STILL = 200
"""KiB."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def run_directory(keep: bool) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="portico-bench-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        if keep:
            say(f"kept {path}")
        else:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def children(home: Path) -> Iterator[Children]:
    """All that is started with them has ended afterwards."""
    started = Children(home)
    try:
        yield started
    finally:
        started.stop()


def start_null(base: int, big: int, programs: build.Programs, started: Children) -> tuple[Backend, int]:
    backend = Backend(base, base + 1, base + 2)
    told = {"imap": backend.imap, "pop": backend.pop3, "watched": backend.watched_imap, "popbig": big}
    argv = [str(programs.null_server), *(word for name, value in told.items() for word in (f"--{name}", str(value)))]
    return backend, _started("backend", argv, base, started)


def start_dovecot(base: int, directory: Path, started: Children) -> tuple[Backend, int]:
    """On the mailboxes that are in `directory`, or will be."""
    directory.mkdir(exist_ok=True)
    file = directory / "dovecot.conf"
    file.write_text(dovecot.backend_configuration(directory, certificate.make(directory), base, base + 1))
    return Backend(base, base + 1), _started("dovecot-backend", ["dovecot", "-F", "-c", str(file)], base, started)


def _started(name: str, argv: list[str], port: int, started: Children) -> int:
    pid = started.start(name, argv)
    if not machine.wait_for_port(port):
        raise SystemExit(f"the backend did not start: {started.said(name)}")
    return pid


def start_peers(names: Sequence[str], base: int, backend: Backend, home: Path, started: Children) -> tuple[list[Target], list[str]]:
    """Those that run, fresh, and a note for each that does not. `base`: the first port of the run."""
    targets: list[Target] = []
    notes: list[str] = []
    home.mkdir(exist_ok=True)
    made = certificate.make(home)
    for index, name in enumerate(names):
        packages = missing(name)
        if packages:
            notes.append(f"{name} is left out: install {packages}")
            continue
        directory = home / name
        directory.mkdir()
        imaps = base + _PEERS_AT + index * PORTS_PER_PEER
        place = Place(directory, imaps, imaps + 1, imaps + 2, backend, made)
        pid = started.start(name, PEERS[name](place))
        if machine.wait_for_port(imaps) and machine.wait_for_port(imaps + 1):
            targets.append(Target(name, imaps, imaps + 1, [pid], store=name.startswith("portico-plugins")))
        else:
            notes.append(f"{name} is left out, it did not start: {started.said(name)}")
    for target in targets:
        target.fresh = settled(target.pids)
    return targets, notes


def settled(pids: Sequence[int]) -> machine.Memory:
    """The memory of processes that have started all that they start."""
    before = machine.memory(pids)
    for _ in range(20):
        time.sleep(0.4)
        now = machine.memory(pids)
        if now.processes == before.processes and abs(now.pss - before.pss) < _STILL:
            return now
        before = now
    return before
