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
from mailbench.peers import LINKS_PEERS, PEERS, Backend, Place, missing
from mailbench.plan import LINKS, MEASURES, QUICK, WITH_LINKS, Plan
from mailbench.tally import Tally

DEFAULT_PEERS = ("nginx", "nginx-64k", "haproxy", "dovecot", "portico")
REFERENCE = "nginx"
_PORTS_PER_PEER = 3
_CACHE = Path(__file__).resolve().parents[3] / ".cache" / "bench"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run.py", description="Portico beside nginx, HAProxy and Dovecot, on loopback.")
    parser.add_argument("--quick", action="store_true", help="some three minutes; good for large differences only")
    parser.add_argument(
        "--links", action="store_true", help="what meeting links cost: Portico with the plugin beside Portico without, 5 rounds"
    )
    parser.add_argument("--peers", default=",".join(DEFAULT_PEERS), help=f"some of {', '.join(PEERS)} (default: %(default)s)")
    parser.add_argument("--measures", help=f"some of {','.join(MEASURES)} (default: all), with --links of {','.join(LINKS)}")
    parser.add_argument("--rounds", type=int, help="each measure, each peer, so many times")
    parser.add_argument("--idle", help="how many idle sessions, as 2000,9000")
    parser.add_argument("--sessions", type=int, help="sessions of a login measure")
    parser.add_argument("--backend", choices=("null", "dovecot"), default="null", help="what the proxies stand in front of")
    parser.add_argument("--base-port", type=int, default=21300, help="first of some thirty ports on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=_CACHE / "latest.json", help="where all figures go (.cache/bench/latest.json)")
    parser.add_argument("--keep", action="store_true", help="leave the directory with configurations and logs")
    options = parser.parse_args(argv)
    options.reference = REFERENCE
    if options.links:
        options.peers, options.reference, options.backend = ",".join(LINKS_PEERS), "portico", "dovecot"
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises SystemExit with a sentence for what is not known."""
    plan = WITH_LINKS if options.links else QUICK if options.quick else Plan()
    measures = tuple(options.measures.split(",")) if options.measures else plan.measures
    unknown = [name for name in measures if name not in (*MEASURES, *LINKS)]
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
    home.mkdir(exist_ok=True)
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
                # This one is as `portico-links`, but for what it looks at when it sees a mailbox for the first time.
                if name == "list_first" or target.name != "portico-links-all":
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
            ordinary = dovecot.make_links_mailboxes(home / "backend", plan.rounds + 1) if options.links else 0
            measures = Measures(plan, Load(programs.load, [pid], backend.imap if null else None), empty, ordinary)
            began = time.strftime("%Y-%m-%d %H:%M")
            measures.notes += notes
            targets = measure(measures, targets)
            if options.links:
                measures.notes += asked_of_server(measures, options.base_port, backend, home, children)
        finally:
            children.stop()
    about = {
        "began": began, "machine": machine.description(), "python": sys.version.split()[0], "backend": options.backend,
        "rounds": plan.rounds, "reference": options.reference, "load": os.getloadavg(),
    }  # fmt: skip
    if measures.foreign:
        about["foreign_cores"] = round(median(measures.foreign), 2)
    finish(measures, [target.name for target in targets if target.name != "direct"], about, options.json)
    return 0


def asked_of_server(measures: Measures, base: int, backend: Backend, home: Path, children: Children) -> list[str]:
    """What a listing asks of the server with meeting links off and on, first and again: sentences."""
    notes = []
    for index, name in enumerate(LINKS_PEERS):
        tally = Tally(base + 3 + index, backend.imap)
        try:
            targets, failed = start_peers([name], base + 15 + 3 * index, replace(backend, imap=base + 3 + index), home / "tally", children)
            notes += failed
            for target in targets:
                for when in ("first", "again"):
                    tally.take()
                    sample = measures.list_once(target, measures.plan.rounds + 1)
                    counts = tally.take()
                    if not sample.clean:
                        notes.append(f"{name}: a listing ({when}) failed: {sample.why}")
                        continue
                    notes.append(
                        f"{name}: a session that lists 20,000 messages, {when}: {counts.commands} commands of our own to the server,"
                        f" {counts.up} octets to it, {counts.down / 1e6:.2f} MB from it"
                    )
        finally:
            tally.close()
    return notes


def finish(measures: Measures, names: list[str], about: dict[str, object], file: Path) -> None:
    """Print the table and write the file. `direct` is in the file only: it does no TLS."""
    reference = str(about["reference"])
    table = report.compare(measures.rows, reference)
    said = report.verdicts(table) if reference == REFERENCE else report.verdicts(table, "portico-links", report.LINKS_EXPECTED)
    print(f"{about['machine']}; Python {about['python']}; {about['began']}; {about['rounds']} rounds; backend {about['backend']}")
    print(f"CPU and memory are the proxy's own; medians, and ratios to {reference} in the same round (least-greatest).")
    print(f"Cores used by other work meanwhile (median): {about.get('foreign_cores', '-')}\n")
    print(report.markdown(table, names, reference))
    for line in ["", *said, *measures.notes]:
        print(line)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report.as_json(table, measures.rows, measures.notes, about, said), indent=1) + "\n")
    print(f"\nAll figures: {file}")
