"""The benchmark from its options to its tables.

Rule of this file: it starts the backend and the peers, runs the measures in turn, and ends what it started. It installs nothing:
what is missing is said, and the rest is measured.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from mailbench import build, dovecot, growth, machine, show, stay
from mailbench.children import Children
from mailbench.load import Load, Target
from mailbench.measures import Measures
from mailbench.peers import LINKS_PEERS, PEERS, Backend, is_compiled
from mailbench.plan import LINKS, MEASURES, MORE, ORDINARY, QUICK, WITH_LINKS, Plan
from mailbench.running import PORTS, children, run_directory, say, start_dovecot, start_null, start_peers
from mailbench.tally import Tally

DEFAULT_PEERS = ("nginx", "nginx-64k", "haproxy", "portico", "portico-plugins")
PURE_PEERS = ("portico-pure", "portico-plugins-pure")
"""By default, too, where Portico is compiled."""
GROWTH_PEERS = ("nginx", "portico", "portico-plugins")
REFERENCE = "nginx"
_NOT_AT_REST = ("nginx-64k", "haproxy", "dovecot")
"""Sessions that stay are measured without these, unless nothing but that is asked for."""
_CACHE = Path(__file__).resolve().parents[3] / ".cache" / "bench"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run.py", description="Portico beside nginx and HAProxy, on loopback.")
    parser.add_argument("--quick", action="store_true", help="some four minutes; good for large differences only")
    parser.add_argument(
        "--growth", action="store_true", help="only how memory and CPU grow with sessions that stay, with sessions at work, with a mailbox"
    )
    parser.add_argument(
        "--links", action="store_true", help="what meeting links cost: Portico with the plugin beside Portico without, 5 rounds"
    )
    parser.add_argument("--peers", help=f"some of {', '.join(PEERS)} (default: {','.join(DEFAULT_PEERS)})")
    known = ",".join((*MEASURES, *MORE, *ORDINARY))
    parser.add_argument("--measures", help=f"some of {known} (default: all but {','.join(MORE)}), with --links of {','.join(LINKS)}")
    parser.add_argument("--rounds", type=int, help="each measure, each peer, so many times (default: 5; 2 with --quick, 1 with --growth)")
    parser.add_argument("--idle", help="how many idle sessions, as 2000,9000")
    parser.add_argument("--sessions", type=int, help="sessions of a login measure")
    parser.add_argument("--base-port", type=int, default=21300, help=f"first of {PORTS} ports on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where all figures go (.cache/bench/latest.json, growth.json with --growth)")
    parser.add_argument("--svg", type=Path, help="where the picture goes (.cache/bench/latest.svg)")
    parser.add_argument("--show", type=Path, metavar="JSON", help="measure nothing: print the tables of such a file, and draw its picture")
    parser.add_argument("--keep", action="store_true", help="leave the directory with configurations and logs")
    options = parser.parse_args(argv)
    options.reference = REFERENCE
    if options.links:
        options.peers, options.reference = ",".join(LINKS_PEERS), "portico"
    elif options.growth:
        options.peers = options.peers or ",".join(GROWTH_PEERS)
    options.peers = options.peers or ",".join(DEFAULT_PEERS + (PURE_PEERS if is_compiled() else ()))
    options.json = options.json or _CACHE / ("growth.json" if options.growth else "latest.json")
    options.svg = options.svg or _CACHE / "latest.svg"
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    """Raises SystemExit with a sentence for what is not known."""
    plan = WITH_LINKS if options.links else QUICK if options.quick else Plan()
    asked = options.measures.split(",") if options.measures else []
    unknown = [name for name in asked if name not in (*MEASURES, *MORE, *ORDINARY, *LINKS)]
    unknown += [name for name in options.peers.split(",") if name not in PEERS]
    if unknown:
        raise SystemExit(f"not known: {', '.join(unknown)}")
    if options.links:
        plan = replace(plan, measures=tuple(asked) or plan.measures)
    elif asked:
        plan = replace(
            plan,
            measures=tuple(name for name in asked if name not in ORDINARY),
            ordinary=tuple(name for name in asked if name in ORDINARY),
        )
    if options.growth:
        plan = replace(plan, measures=("growth",), ordinary=(), growths=options.rounds or 1)
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


def in_rounds(measures: Measures, targets: list[Target], names: Sequence[str]) -> None:
    """Each round, each measure, each target that a look finds sound; who is first changes."""
    targets = [target for target in targets if measures.sanity(target)]
    for number in range(measures.plan.rounds):
        measures.round = number
        turn = number % max(1, len(targets))
        for name in names:
            say(f"round {number + 1} of {measures.plan.rounds}: {name}")
            for target in targets[turn:] + targets[:turn]:
                # This one is as `portico-links`, but for what it looks at when it sees a mailbox for the first time.
                if name == "list_first" or target.name != "portico-links-all":
                    measures.measure(name, target)


class Run:
    """One run: its parts, each with targets of its own, and what came out of all of them."""

    def __init__(self, options: argparse.Namespace, plan: Plan, programs: build.Programs, home: Path) -> None:
        self.plan = plan
        self.parts: list[Measures] = []
        self._base = options.base_port
        self._peers: list[str] = options.peers.split(",")
        self._programs = programs
        self._home = home

    def _part(self, load: Load, *, ordinary: int = 0) -> Measures:
        self.parts.append(Measures(self.plan, load, ordinary))
        return self.parts[-1]

    @contextmanager
    def _null(self) -> Iterator[tuple[Children, Backend, int, Load]]:
        with children(self._home) as started:
            backend, pid = start_null(self._base, self.plan.big, self._programs, started)
            yield started, backend, pid, Load(self._programs.load, [pid], backend.imap)

    def at_work(self) -> None:
        """In front of the null server, all targets in turn."""
        names = [name for name in self.plan.measures if name not in ("idle", "growth")]
        if not names:
            return
        with self._null() as (started, backend, pid, load):
            measures = self._part(load)
            targets = self._start(measures, self._peers, backend, "work", started)
            in_rounds(measures, [Target("direct", backend.imap, backend.pop3, [pid], tls=False), *targets], names)

    def at_rest(self) -> None:
        """Sessions that stay, each time in front of fresh processes."""
        if "idle" not in self.plan.measures:
            return
        names = [name for name in self._peers if name not in _NOT_AT_REST or self.plan.measures == ("idle",)]
        with self._null() as (_, backend, _pid, load):
            measures = self._part(load)
            for number in range(self.plan.rounds):
                measures.round = number
                say(f"round {number + 1} of {self.plan.rounds}: {', '.join(map(str, self.plan.idle))} idle sessions")
                for name in names:
                    with children(self._home) as started:
                        for target in self._start(measures, [name], backend, f"rest{number}-{name}", started):
                            stay.idle(measures, target)

    def growing(self) -> None:
        """In steps, each kind of them in front of fresh processes."""
        if "growth" not in self.plan.measures:
            return
        names = [name for name in self._peers if name in GROWTH_PEERS or self.plan.measures == ("growth",)]
        with self._null() as (_, backend, _pid, load):
            measures = self._part(load)
            for number in range(self.plan.growths):
                measures.round = number
                for name in names:
                    say(f"round {number + 1} of {self.plan.growths}: how {name} grows")
                    for kind in growth.KINDS:
                        with children(self._home) as started:
                            where = f"growth{number}-{name}-{kind.__name__}"
                            for target in self._start(measures, [name], backend, where, started):
                                kind(measures, target)

    def ordinary(self, names: Sequence[str], peers: Sequence[str]) -> None:
        """In front of a Dovecot whose mailboxes hold ordinary mail."""
        if not names:
            return
        say("making mailboxes")
        directory = self._home / "backend"
        with children(self._home) as started:
            dovecot.make_home(directory)
            octets = dovecot.make_links_mailboxes(directory, self.plan.rounds + 1)
            if "fetch" in names or "retr" in names:
                dovecot.make_big(directory, self.plan.big)
            backend, pid = start_dovecot(self._base, directory, started)
            measures = self._part(Load(self._programs.load, [pid], None), ordinary=octets)
            targets = self._start(measures, peers, backend, "ordinary", started)
            in_rounds(measures, [Target("direct", backend.imap, backend.pop3, [pid], tls=False), *targets], names)
            if peers == LINKS_PEERS:
                measures.notes += self._asked_of_server(measures, backend, started)

    def links(self) -> None:
        """What meeting links cost, and then sessions that stay."""
        self.ordinary([name for name in self.plan.measures if name != "idle"], LINKS_PEERS)
        self.at_rest()

    def _start(self, measures: Measures, names: Sequence[str], backend: Backend, where: str, started: Children) -> list[Target]:
        targets, notes = start_peers(names, self._base, backend, self._home / where, started)
        for note in notes:
            say(note)
        measures.notes += [note for note in notes if note not in measures.notes]
        return targets

    def _asked_of_server(self, measures: Measures, backend: Backend, started: Children) -> list[str]:
        """What a listing asks of the server with meeting links off and on, first and again: sentences."""
        notes = []
        for index, name in enumerate(LINKS_PEERS):
            tally = Tally(self._base + 3 + index, backend.imap)
            through = replace(backend, imap=self._base + 3 + index)
            try:
                # Ports behind those of the peers that run.
                for target in self._start_at(self._base + 15 + 3 * index, name, through, measures, started):
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

    def _start_at(self, base: int, name: str, backend: Backend, measures: Measures, started: Children) -> list[Target]:
        targets, notes = start_peers([name], base, backend, self._home / "tally", started)
        measures.notes += notes
        return targets


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    if options.show:
        show.tell(json.loads(options.show.read_text()), options.svg)
        return 0
    plan = plan_of(options)
    lacking = build.missing_tools()
    if lacking:
        say(f"To measure, install: {' '.join(lacking)}")
        return 1
    programs = build.compile_into(_CACHE)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with run_directory(options.keep) as home, alone():
        clash = machine.taken(range(options.base_port, options.base_port + PORTS))
        if clash:
            say(f"Ports {clash} are in use: choose another --base-port")
            return 1
        run = Run(options, plan, programs, home)
        about: dict[str, object] = {
            "began": time.strftime("%Y-%m-%d %H:%M"), "machine": machine.description(), "python": sys.version.split()[0],
            "compiled": is_compiled(), "rounds": plan.rounds, "reference": options.reference, "load": os.getloadavg(),
        }  # fmt: skip
        if options.links:
            run.links()
        else:
            run.at_work()
            run.at_rest()
            run.growing()
            run.ordinary(plan.ordinary, [name for name in options.peers.split(",") if name not in ("nginx", "haproxy", "dovecot")])
    foreign = [cores for part in run.parts for cores in part.foreign]
    if foreign:
        about["foreign_cores"] = round(median(foreign), 2)
    figures = show.as_json([row for part in run.parts for row in part.rows], [note for part in run.parts for note in part.notes], about)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1) + "\n")
    show.tell(figures, options.svg)
    print(f"\nAll figures: {options.json}")
    return 0
