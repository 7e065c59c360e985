"""``python tests/bench/folders.py [--folders 5000] [--messages 1000] [--rounds 5]``: what public folders cost. See README.md here.

Rule of this file: two Dovecots and Portico, on loopback, in a directory of their own, without TLS; each figure is a median of rounds in turn,
beside what a client pays that is at the server itself.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from mailbench import machine
from portico.demo import certificates
from portico.demo.child import Child
from portico.demo.dovecot import Dovecot
from portico.demo.ports import LOOPBACK, accepts, free_ports, wait_until
from portico.demo.workplace import workplace

USER, PASSWORD = "reader", "wonderland"
ROOT = "Shelf"
PUBLIC = f'[listeners.WAY.plugins.public_folders]\nstore = "store"\nroot = "{ROOT}"\nsubscribed = "store"\n'
WAYS = {"plain": "", "public": PUBLIC, "excluded": PUBLIC + f'exclude_users = ["{USER}"]\n', "store": ""}
"""Listeners: without the plugin, with it, with it but not for this user, and straight to the store (its own LIST, through a tunnel)."""
LISTS, NOOPS, LOGINS = 5, 3000, 100
BODY = b"Subject: one of many\r\nMessage-ID: <%d@example.org>\r\n\r\n" + b"It says nothing that anybody would have to read.\r\n" * 80


class Client:
    """A connection that has signed in."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((LOOPBACK, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.until(b"\r\n")
        self.ask(b"LOGIN %b %b" % (USER.encode(), PASSWORD.encode()))

    def until(self, end: bytes) -> bytes:
        got = bytearray()
        while end not in got[-4096:]:
            some = self.socket.recv(1 << 18)
            if not some:
                raise SystemExit(f"the connection ended: {bytes(got[-200:])!r}")
            got += some
        return bytes(got)

    def ask(self, command: bytes) -> bytes:
        """What is answered to a command; it must be OK."""
        self.socket.sendall(b"a " + command + b"\r\n")
        got = bytearray()
        while True:
            some = self.socket.recv(1 << 18)
            got += some
            last = got.rfind(b"\n", 0, len(got) - 1) + 1
            if got.endswith(b"\n") and got[last : last + 2] == b"a ":
                break
            if not some:
                raise SystemExit(f"the connection ended: {bytes(got[-200:])!r}")
        if got[last : last + 4] != b"a OK":
            raise SystemExit(f"{command[:80]!r}: {bytes(got[last:])!r}")
        return bytes(got)

    def close(self) -> None:
        self.socket.close()


class Bench:
    """The servers, with what is in them, and Portico."""

    def __init__(self, personal: Dovecot, store: Dovecot, proxy: Child, ports: dict[str, int]) -> None:
        self.personal, self.store, self.proxy, self.ports = personal, store, proxy, ports
        self.figures: dict[str, list[tuple[float, float]]] = {}

    def measure(self, name: str, what: Callable[[], object], count: int) -> None:
        """Milliseconds that pass, and that the proxy works, for each of `count`."""
        cpu, began = machine.cpu([self.proxy.pid]), time.perf_counter()
        what()
        spent, passed = machine.cpu([self.proxy.pid]) - cpu, time.perf_counter() - began
        self.figures.setdefault(name, []).append((passed * 1000 / count, spent * 1000 / count))

    def lists(self, folders: int) -> None:
        for name, port in (
            ("LIST, at the store", self.store.ports.imap),
            ("LIST, the store through a tunnel", self.ports["store"]),
            ("LIST, with the personal tree", self.ports["public"]),
        ):
            client = Client(port)
            found = client.ask(b'LIST "" *').count(b"* LIST")
            if found < folders:
                raise SystemExit(f"{name}: only {found} folders")
            self.measure(name, lambda client=client: [client.ask(b'LIST "" *') for _ in range(LISTS)], LISTS)
            client.close()

    def copies(self, count: int, number: int) -> None:
        target = f"{ROOT}/Copies{number}"
        store = Client(self.store.ports.imap)
        store.ask(f'CREATE "{target}"'.encode())
        few = max(1, count // 20)  # each is a transaction of its own at the server
        bodies = [BODY % each for each in range(count)]
        at_once = b"".join(b" {%d+}\r\n%b" % (len(body), body) for body in bodies)

        def one_by_one(client: Client, box: str) -> None:
            for body in bodies[:few]:
                client.ask(b'APPEND "%b" {%d+}\r\n%b' % (box.encode(), len(body), body))

        through = Client(self.ports["public"])
        through.ask(b"SELECT Many")
        shown = f"Public Folders/Copies{number}"
        through.ask(f'STATUS "{shown}" (MESSAGES)'.encode())  # the store is signed in at
        self.measure("COPY across", lambda: through.ask(f'COPY 1:{count} "{shown}"'.encode()), count)
        self.measure("APPEND at the store, in one command", lambda: store.ask(f'APPEND "{target}"'.encode() + at_once), count)
        self.measure("APPEND at the store, one by one", lambda: one_by_one(store, target), few)
        self.measure("APPEND through Portico, in one command", lambda: through.ask(f'APPEND "{shown}"'.encode() + at_once), count)
        self.measure("APPEND through Portico, one by one", lambda: one_by_one(through, shown), few)
        if f"MESSAGES {3 * count + 2 * few}".encode() not in store.ask(f'STATUS "{target}" (MESSAGES)'.encode()):
            raise SystemExit("not all messages are there")
        store.ask(f'DELETE "{target}"'.encode())
        store.close()
        through.close()

    def others(self) -> None:
        """Users who have no public folders."""
        for way in ("plain", "excluded", "public"):
            client = Client(self.ports[way])
            client.ask(b"SELECT INBOX")
            self.measure(f"NOOP, {way}", lambda client=client: [client.ask(b"NOOP") for _ in range(NOOPS)], NOOPS)
            client.close()
            self.measure(f"sign-in, {way}", lambda way=way: [Client(self.ports[way]).close() for _ in range(LOGINS)], LOGINS)


@contextmanager
def bench(folders: int, messages: int) -> Iterator[Bench]:
    with workplace() as directory:
        made = certificates.issue(directory)
        common = {"users": {USER: PASSWORD}, "certificate": made.certificate, "key": made.key, "sessions_per_process": 100}
        with Dovecot(directory / "personal", **common) as personal, Dovecot(directory / "store", **common) as store:  # type: ignore[arg-type]
            client = Client(store.ports.imap)
            for number in range(folders):
                client.ask(f'CREATE "{ROOT}/Department {number // 100}/Folder {number}"'.encode())
            client.close()
            client = Client(personal.ports.imap)
            client.ask(b"CREATE Many")
            client.ask(b"APPEND Many" + b"".join(b" {%d+}\r\n%b" % (len(BODY % each), BODY % each) for each in range(messages)))
            client.close()
            ports = dict(zip(WAYS, free_ports(len(WAYS)), strict=True))
            settings = directory / "portico.toml"
            settings.write_text(_settings(personal, store, ports))
            proxy = Child(
                [sys.executable, "-m", "portico", "run", "-c", str(settings)], log=directory / "log", environment=dict(os.environ)
            )
            proxy.start()
            try:
                wait_until("Portico", lambda: all(map(accepts, ports.values())), seconds=20, alive=lambda: proxy.running)
                yield Bench(personal, store, proxy, ports)
            finally:
                proxy.stop()


def _settings(personal: Dovecot, store: Dovecot, ports: dict[str, int]) -> str:
    text = '[log]\nlevel = "warning"\n'
    for name, server in (("personal", personal), ("store", store)):
        text += f'[servers.{name}]\nimap = "{LOOPBACK}:{server.ports.imap}"\n'
    for way, plugin in WAYS.items():
        behind = "store" if way == "store" else "personal"
        text += f'[listeners.{way}]\nprotocol = "imap"\naddresses = ["{LOOPBACK}:{ports[way]}"]\ntls = "none"\nplain_login = true\n'
        text += f'server = "{behind}"\nlimits.wrong_login_delay = "1ms"\n' + plugin.replace("WAY", way)
    return text


REFERENCES = {"LIST": "LIST, at the store", "COPY": "APPEND at the store, in one command", "APPEND": "APPEND at the store, in one command",
              "NOOP": "NOOP, plain", "sign-in": "sign-in, plain"}  # fmt: skip


def table(figures: dict[str, list[tuple[float, float]]]) -> str:
    """Medians; the time also as a ratio to the reference of its kind, taken within each round."""
    lines = ["| | time of each | ratio | CPU of Portico |", "|---|---|---|---|"]
    for name, rows in figures.items():
        reference = figures[REFERENCES[name.replace(",", "").split()[0]]]
        ratios = sorted(row[0] / other[0] for row, other in zip(rows, reference, strict=True))
        spread = f"{median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        lines.append(f"| {name} | {median(row[0] for row in rows):.3g} ms | {spread} | {median(row[1] for row in rows):.3g} ms |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="What public folders cost.")
    parser.add_argument("--folders", type=int, default=5000)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with bench(options.folders, options.messages) as running:
        for number in range(options.rounds):
            running.lists(options.folders)
            running.copies(options.messages, number)
            running.others()
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        print(table(running.figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
