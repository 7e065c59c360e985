"""``python tests/bench/ssh_hosts.py [--gigabytes 1]``: what a server behind an SSH host costs. See README.md here.

Rule of this file: Dovecot straight behind Portico and behind a real sshd, in turn, one worker each; on loopback, without TLS. It needs what the
live tests need (tests/live/sshd.py).
"""

from __future__ import annotations

import argparse
import imaplib
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from portico.demo.ports import LOOPBACK, wait_until  # noqa: E402

from tests.bench.mailbench import machine  # noqa: E402
from tests.bench.served import served  # noqa: E402
from tests.live.fetch import fetch  # noqa: E402
from tests.live.front import Front  # noqa: E402
from tests.live.people import PASSWORD  # noqa: E402
from tests.live.sshd import Sshd  # noqa: E402

ONE: Final = "[workers]\ncount = 1\n"
MESSAGE: Final = b"Subject: large\r\n\r\n" + b"".join(b"%070d\r\n" % n for n in range(450_000))
LOGINS: Final = 30
COMMANDS: Final = 300


def timed(what: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    what()
    return (time.perf_counter() - began) * 1e3


def signed_in(port: int) -> imaplib.IMAP4:
    connection = imaplib.IMAP4(LOOPBACK, port)
    connection.login("alice", PASSWORD)
    return connection


def read(port: int, octets: int) -> int:
    """Fetch the large message until so many octets have come; how many they were."""
    with socket.create_connection((LOOPBACK, port)) as sock, sock.makefile("rb") as file:

        def ask(command: bytes) -> int:
            sock.sendall(b"a " + command + b"\r\n")
            come, place = 0, bytearray(1 << 20)
            while not (line := file.readline()).startswith(b"a "):
                assert line, "closed"
                left = int(line[line.rindex(b"{") + 1 : -3]) if line.endswith(b"}\r\n") else 0
                come += left
                while left:
                    left -= file.readinto(memoryview(place)[: min(left, len(place))])
            assert line.startswith(b"a OK"), line
            return come

        file.readline()
        ask(b"LOGIN alice " + PASSWORD.encode())
        ask(b"EXAMINE INBOX")
        come = 0
        while come < octets:
            come += ask(b"FETCH * BODY.PEEK[]")
        return come


def figures(front: Front, sshd: Sshd, octets: int) -> str:
    port = front.clear.imap
    assert front.child is not None and sshd.child is not None
    with signed_in(port) as connection:
        noops = [timed(connection.noop) for _ in range(COMMANDS)]
    logins = []
    for _ in range(LOGINS):
        connection = imaplib.IMAP4(LOOPBACK, port)
        logins.append(timed(lambda: connection.login("alice", PASSWORD)))  # noqa: B023 - called at once
        connection.logout()
    ours, theirs = [front.child.pid], [sshd.child.pid]
    before, before_sshd, began = machine.cpu(ours), machine.cpu(theirs), time.monotonic()
    come = read(port, octets)
    seconds, used, used_sshd = time.monotonic() - began, machine.cpu(ours) - before, machine.cpu(theirs) - before_sshd
    reading = threading.Thread(target=read, args=(port, octets))
    others: list[float] = []
    with imaplib.IMAP4(LOOPBACK, port) as other:  # before login it is the worker that answers
        reading.start()
        while reading.is_alive():
            others.append(timed(other.capability))
            time.sleep(0.002)
    return (
        f"{come / seconds / 1e6:6.0f} MB/s  Portico {used / come * 1e9:4.2f} s/GB  sshd {used_sshd / come * 1e9:4.2f} s/GB  "
        f"NOOP {median(noops):5.2f} ms  login {median(logins):5.1f} ms  "
        f"another client meanwhile {median(others):5.2f} ms, 99% {quantiles(others, n=100)[-1]:5.2f} ms"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="What a server behind an SSH host costs.")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="how much is read for each figure")
    octets = int(parser.parse_args().gigabytes * 1e9)
    with ExitStack() as stack:
        place, issued, server = stack.enter_context(served())
        with signed_in(server.ports.imap) as connection:
            connection.append("INBOX", "", "", MESSAGE)
        sshd = Sshd(fetch("sshd", ROOT / ".cache" / "servers"), place / "sshd")
        stack.callback(sshd.stop)
        sshd.start()
        for name, settings in (("direct", ""), ("by SSH", sshd.settings())):
            front = Front(place / name, server.ports, issued, server_settings=settings, more=ONE, protocols=("imap",))
            stack.callback(front.stop)
            front.start()
            if settings:
                wait_until("the SSH connection", lambda: front.events("ssh.connected"), seconds=30)  # noqa: B023 - at once
            print(f"{name}: {figures(front, sshd, octets)}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
