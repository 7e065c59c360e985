"""``python tests/bench/sizes.py [--messages 20000] [--rounds 3]``: what sizes by estimate save. See README.md here.

Rule of this file: one server after another, each with the same messages, and Portico in front of it with the plugin ``size_estimates``; a
client lists the folder straight and through Portico, in turn, with what the server remembers of it and without. On loopback, without TLS.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

from folders import PASSWORD, USER, Client
from mailbench import machine
from portico.demo import certificates
from portico.demo.child import Child
from portico.demo.dovecot import Dovecot
from portico.demo.ports import LOOPBACK, accepts, free_ports, wait_until
from portico.demo.workplace import workplace

LISTS = {
    "sizes": b"UID FETCH 1:* (UID FLAGS RFC822.SIZE)",
    "sizes, envelopes": b"UID FETCH 1:* (UID FLAGS RFC822.SIZE ENVELOPE)",
}
LINE = b"It says nothing that anybody would have to read, but it has some length.\n"
BATCH = 500
"""Messages stored by one APPEND."""
_SECOND = 1.1
"""Until Dovecot gives another UIDVALIDITY to a folder that it sees for the first time."""


class Figures(NamedTuple):
    """Of one list."""

    seconds: float
    read: int
    """Octets that the server's process read, of files and connections (/proc/PID/io, rchar)."""
    server: float
    proxy: float
    """Seconds of CPU."""


class Store(NamedTuple):
    """A server with the messages in it."""

    name: str
    port: int
    processes: Callable[[], list[int]]
    """Those that serve IMAP."""
    forget: Callable[[], None] | None
    """Let it forget what it remembers of the messages; None: that cannot be."""


def message(number: int, chance: random.Random) -> bytes:
    """With LF: some 5 KB in the middle, 9 KB on average, the largest some 200 KB."""
    lines = max(1, min(2800, round(chance.lognormvariate(4.1, 1.1))))
    return (
        b"From: Somebody <somebody@example.org>\nTo: %b@example.org\nSubject: One of many, number %d\nDate: Mon, 02 Feb 2026 10:00:00 +0100\n"
        b"Message-ID: <%d@example.org>\nMIME-Version: 1.0\nContent-Type: text/plain\n\n" % (USER.encode(), number, number)
    ) + LINE * lines


def uncached(path: Path) -> None:
    """The file is read from the disk when it is read again."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def named(name: str, above: int = 0) -> list[int]:
    """Processes of this name, children of `above` where it is given."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        if f"({name})" in text and (not above or int(text.rpartition(")")[2].split()[1]) == above):
            found.append(int(path.parent.name))
    return found


def read(pids: list[int]) -> int:
    found = 0
    for pid in pids:
        with suppress(OSError):  # that of another session has ended meanwhile
            found += int(Path(f"/proc/{pid}/io").read_text().split()[1])
    return found


def listed(store: Store, port: int, proxy: int, command: bytes, count: int) -> Figures:
    """One session that selects the folder and lists it."""
    client = Client(port)
    pids = store.processes()
    start = read(pids), machine.cpu(pids), machine.cpu([proxy]), time.perf_counter()
    client.ask(b"SELECT INBOX")
    answer = client.ask(command)
    passed = time.perf_counter() - start[3]
    if answer.count(b"RFC822.SIZE") < count:
        raise SystemExit(f"{store.name}: only {answer.count(b'RFC822.SIZE')} sizes")
    figures = Figures(passed, read(pids) - start[0], machine.cpu(pids) - start[1], machine.cpu([proxy]) - start[2])
    client.close()
    return figures


@contextmanager
def dovecot(directory: Path, kind: str, messages: int) -> Iterator[Store]:
    """Dovecot with a store of this kind."""
    made = certificates.issue(directory)
    more = f"mail_location = {kind}:~/{kind}\n"
    with Dovecot(directory / "server", users={USER: PASSWORD}, certificate=made.certificate, key=made.key, more=more) as server:
        home = directory / "server/mail" / USER
        chance = random.Random(1)
        if kind == "maildir":
            Client(server.ports.imap).ask(b"SELECT INBOX")
            for number in range(messages):
                (home / kind / "cur" / f"{1760000000 + number}.M{number}.elsewhere:2,S").write_bytes(message(number, chance))
            owner = (home / kind).stat()
            for path in (home / kind / "cur").iterdir():
                os.chown(path, owner.st_uid, owner.st_gid)
        else:
            fill(server.ports.imap, messages, chance)

        os.sync()  # what has not been written cannot be let go

        def forget() -> None:
            time.sleep(_SECOND)
            # The list of UIDs of a Maildir holds sizes too. What the others have in their index is the mailbox itself.
            names = ["dovecot.index*", "dovecot-uidlist"] if kind == "maildir" else ["dovecot.index.cache"]
            for name in names:
                for path in (home / kind).rglob(name):
                    path.unlink()
            for path in (home / kind).rglob("*"):
                if path.is_file():
                    uncached(path)

        yield Store(f"Dovecot, {kind}", server.ports.imap, lambda: named("imap", server.pid), forget)


@contextmanager
def cyrus(directory: Path, messages: int) -> Iterator[Store]:
    """Cyrus, where the live tests have brought it; run with PYTHONPATH=. then."""
    from tests.live.cyrus import Cyrus

    made = certificates.issue(directory)
    server = Cyrus(Path(".cache/servers/cyrus/root"), directory / "server", users={USER: PASSWORD}, certificates=made)
    server.start()
    try:
        fill(server.ports.imap, messages, random.Random(1))
        yield Store("Cyrus", server.ports.imap, lambda: named("imapd"), None)
    finally:
        server.stop()


def fill(port: int, messages: int, chance: random.Random) -> None:
    client = Client(port)
    for start in range(0, messages, BATCH):
        several = [message(number, chance).replace(b"\n", b"\r\n") for number in range(start, min(messages, start + BATCH))]
        client.ask(b"APPEND INBOX" + b"".join(b" {%d+}\r\n%b" % (len(each), each) for each in several))
    client.close()


@contextmanager
def portico(directory: Path, store: Store) -> Iterator[tuple[int, int]]:
    """Its port and its process."""
    (port,) = free_ports(1)
    settings = directory / "portico.toml"
    settings.write_text(
        f'[log]\nlevel = "warning"\n[servers.main]\nimap = "{LOOPBACK}:{store.port}"\n'
        f'[listeners.main]\nserver = "main"\nprotocol = "imap"\naddresses = ["{LOOPBACK}:{port}"]\ntls = "none"\nplain_login = true\n'
        "[listeners.main.plugins.size_estimates]\n"
    )
    proxy = Child([sys.executable, "-m", "portico", "run", "-c", str(settings)], log=directory / "log", environment=dict(os.environ))
    proxy.start()
    try:
        wait_until("Portico", lambda: accepts(port), seconds=20, alive=lambda: proxy.running)
        yield port, proxy.pid
    finally:
        proxy.stop()


def rows(store: Store, directory: Path, messages: int, rounds: int) -> Iterator[str]:
    """The lines of the table that are about one server."""
    found: dict[tuple[str, str, str], list[Figures]] = {}
    for _ in range(rounds):
        for what, command in LISTS.items():
            for way in ("straight", "estimates"):
                # Each time a process that has never heard of the folder.
                with portico(directory, store) as (port, pid):
                    for state in ("cold", "warm"):
                        if state == "cold" and store.forget is not None:
                            store.forget()
                        figures = listed(store, store.port if way == "straight" else port, pid, command, messages)
                        if state == "warm" or store.forget is not None:
                            found.setdefault((what, state, way), []).append(figures)
        print(f"{store.name}: a round", file=sys.stderr)
    for (what, state, way), several in found.items():
        seconds, octets, server, proxy = (median(figures[index] for figures in several) for index in range(4))
        yield f"| {store.name} | {what} | {state} | {way} | {seconds:.2f} s | {octets / 1e6:.1f} MB | {server:.2f} s | {proxy:.2f} s |"


def main() -> int:
    parser = argparse.ArgumentParser(description="What sizes by estimate save.")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--servers", default="maildir,sdbox", help="of maildir, sdbox, mdbox, cyrus (default: %(default)s)")
    options = parser.parse_args()
    lines = [
        "| server | list of | memory | way | time | read by the server | its CPU | CPU of Portico |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in options.servers.split(","):
        with workplace() as directory:
            made = cyrus(directory, options.messages) if kind == "cyrus" else dovecot(directory, kind, options.messages)
            with made as store:
                lines += rows(store, directory, options.messages, options.rounds)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
