"""The benchmark from its options to its table.

Rule of this file: it starts the backend and the peers, runs the measures in turn, and ends what it started. It installs nothing:
what is missing is said, and the rest is measured.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from mailbench import build, certificate, dovecot, machine, report
from mailbench.children import Children
from mailbench.load import Load, Target
from mailbench.measures import Measures
from mailbench.peers import PEERS, Backend, Place, missing
from mailbench.plan import MEASURES, QUICK, Plan

DEFAULT_PEERS = ("nginx", "nginx-64k", "haproxy", "dovecot", "portico")
REFERENCE = "nginx"
_PORTS_PER_PEER = 3
_CACHE = Path(__file__).resolve().parents[3] / ".cache" / "bench"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run.py", description="Portico beside nginx, HAProxy and Dovecot, on loopback.")
    parser.add_argument("--quick", action="store_true", help="some three minutes; good for large differences only")
    parser.add_argument("--peers", default=",".join(DEFAULT_PEERS), help=f"some of {', '.join(PEERS)} (default: %(default)s)")
    parser.add_argument("--measures", default=",".join(MEASURES), help="some of %(default)s")
    parser.add_argument("--rounds", type=int, help="each measure, each peer, so many times")
    parser.add_argument("--idle", help="how many idle sessions, as 2000,9000")
    parser.add_argument("--sessions", type=int, help="sessions of a login measure")
    parser.add_argument("--backend", choices=("null", "dovecot"), default="null", help="what the proxies stand in front of")
    parser.add_argument("--base-port", type=int, default=21300, help="first of some thirty ports on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=_CACHE / "latest.json", help="where all figures go (.cache/bench/latest.json)")
    parser.add_argument("--keep", action="store_true", help="leave the directory with configurations and logs")
    return parser.parse_args(argv)


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises SystemExit with a sentence for what is not known."""
    plan = QUICK if options.quick else Plan()
    measures = tuple(options.measures.split(","))
    unknown = [name for name in measures if name not in MEASURES]
    unknown += [name for name in options.peers.split(",") if name not in PEERS]
    if unknown:
        raise SystemExit(f"not known: {', '.join(unknown)}")
    plan = replace(plan, measures=measures)
    if options.rounds:
        plan = replace(plan, rounds=options.rounds)
    if options.sessions:
        plan = replace(plan, sessions=options.sessions)
    if options.idle:
        plan = replace(plan, idle=tuple(sorted(int(count) for count in options.idle.split(","))))
    return plan


@contextmanager
def alone() -> Iterator[None]:
    """One benchmark at a time on this machine."""
    with (Path(tempfile.gettempdir()) / "portico-bench.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


def start_backend(options: argparse.Namespace, plan: Plan, programs: build.Programs, home: Path, children: Children) -> tuple[Backend, int]:
    base = options.base_port
    if options.backend == "null":
        backend = Backend(base, base + 1, base + 2)
        told = {"imap": backend.imap, "pop": backend.pop3, "watched": backend.watched_imap, "popbig": plan.big}
        argv = [str(programs.null_server), *(word for name, value in told.items() for word in (f"--{name}", str(value)))]
    else:
        say("making mailboxes")
        backend = Backend(base, base + 1)
        directory = home / "backend"
        directory.mkdir()
        dovecot.make_mailboxes(directory, plan.big)
        file = directory / "dovecot.conf"
        file.write_text(dovecot.backend_configuration(directory, certificate.make(directory), base, base + 1))
        argv = ["dovecot", "-F", "-c", str(file)]
    pid = children.start("backend", argv)
    if not machine.wait_for_port(base):
        raise SystemExit(f"the backend did not start: {children.said('backend')}")
    return backend, pid


def start_peers(names: Sequence[str], base: int, backend: Backend, home: Path, children: Children) -> tuple[list[Target], list[str]]:
    """Those that run, and a note for each that does not."""
    targets: list[Target] = []
    notes: list[str] = []
    made = certificate.make(home)
    for index, name in enumerate(names):
        packages = missing(name)
        if packages:
            notes.append(f"{name} is left out: install {packages}")
            continue
        directory = home / name
        directory.mkdir()
        imaps = base + 10 + index * _PORTS_PER_PEER
        place = Place(directory, imaps, imaps + 1, imaps + 2, backend, made)
        pid = children.start(name, PEERS[name](place))
        if machine.wait_for_port(imaps) and machine.wait_for_port(imaps + 1):
            targets.append(Target(name, imaps, imaps + 1, [pid]))
        else:
            notes.append(f"{name} is left out, it did not start: {children.said(name)}")
    return targets, notes


def measure(measures: Measures, targets: list[Target]) -> list[Target]:
    """All that the plan wants; the targets that took part."""
    plan = measures.plan
    time.sleep(0.5)
    for target in targets:
        target.fresh = machine.memory(target.pids)
    if "idle" in plan.measures:
        for count in plan.idle:
            for target in targets:
                if target.tls:
                    say(f"{count} idle sessions: {target.name}")
                    measures.idle(target, count)
    targets = [target for target in targets if measures.sanity(target)]
    for number in range(plan.rounds):
        measures.round = number
        turn = number % max(1, len(targets))
        for name in plan.measures:
            if name == "idle":
                continue
            say(f"round {number + 1} of {plan.rounds}: {name}")
            for target in targets[turn:] + targets[:turn]:
                measures.measure(name, target)
    return targets


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    plan = plan_of(options)
    lacking = build.missing_tools()
    if lacking:
        say(f"To measure, install: {' '.join(lacking)}")
        return 1
    programs = build.compile_into(_CACHE)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with run_directory(options.keep) as home, alone():
        clash = machine.taken(range(options.base_port, options.base_port + 40))
        if clash:
            say(f"Ports {clash} are in use: choose another --base-port")
            return 1
        children = Children(home)
        try:
            backend, pid = start_backend(options, plan, programs, home, children)
            targets, notes = start_peers(options.peers.split(","), options.base_port, backend, home, children)
            for note in notes:
                say(note)
            null = options.backend == "null"
            targets.insert(0, Target("direct", backend.imap, backend.pop3, [pid], tls=False))
            empty = (lambda: None) if null else (lambda: dovecot.empty_uploads(home / "backend"))
            measures = Measures(plan, Load(programs.load, [pid], backend.imap if null else None), empty)
            began = time.strftime("%Y-%m-%d %H:%M")
            measures.notes += notes
            targets = measure(measures, targets)
        finally:
            children.stop()
    about = {
        "began": began, "machine": machine.description(), "python": sys.version.split()[0], "backend": options.backend,
        "rounds": plan.rounds, "reference": REFERENCE, "load": os.getloadavg(),
    }  # fmt: skip
    if measures.foreign:
        about["foreign_cores"] = round(median(measures.foreign), 2)
    finish(measures, [target.name for target in targets if target.name != "direct"], about, options.json)
    return 0


def finish(measures: Measures, names: list[str], about: dict[str, object], file: Path) -> None:
    """Print the table and write the file. `direct` is in the file only: it does no TLS."""
    table = report.compare(measures.rows, REFERENCE)
    print(f"{about['machine']}; Python {about['python']}; {about['began']}; {about['rounds']} rounds; backend {about['backend']}")
    print(f"CPU and memory are the proxy's own; medians, and ratios to {REFERENCE} in the same round (least-greatest).")
    print(f"Cores used by other work meanwhile (median): {about.get('foreign_cores', '-')}\n")
    print(report.markdown(table, names, REFERENCE))
    for line in ["", *report.verdicts(table), *measures.notes]:
        print(line)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report.as_json(table, measures.rows, measures.notes, about), indent=1) + "\n")
    print(f"\nAll figures: {file}")
