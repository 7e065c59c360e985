"""``python tests/bench/soak.py [--minutes 10]``: mixed load for a long time; memory and descriptors must come back. See README.md here.

Rule of this file: `portico run` with plugins in front of a private Dovecot, clients that come and go as people's programs do, and at steady
intervals what the processes hold. Portico is measured where nobody is signed in but the sessions that stay; it fails (exit 1) when memory
grows by more than noise, or a descriptor is left open, or a client was told something that it did not expect. On loopback.
"""

from __future__ import annotations

import argparse
import imaplib
import poplib
import random
import re
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import linear_regression, median
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from portico.demo import mailbox  # noqa: E402
from portico.demo.ports import LOOPBACK, wait_until  # noqa: E402

from tests.bench.mailbench import machine  # noqa: E402
from tests.bench.served import served  # noqa: E402
from tests.live.front import Front  # noqa: E402
from tests.live.people import PASSWORD  # noqa: E402

CLIENTS: Final = 6
"""That come and go, each again as soon as it is gone."""
STAYING: Final = 20
"""That stay signed in from the beginning to the end."""
SAMPLES: Final = 20
NOISE: Final = 0.05
"""Of the memory after the first third: what the whole time may add to it, by the straight line through the rest. The allocator keeps some
of what was in use at once, and how much that was is chance."""
LEAST: Final = 4.0
"""MiB that may be added in any case."""
SETTINGS: Final = """
[workers]
count = {workers}
[limits]
sessions_per_user = 2000
sessions_per_address = 2000
[log]
level = "warning"
[metrics]
address = "127.0.0.1:0"
[plugins.meeting_links]
webmail = "nextcloud"
host = "webmail.example.org"
[plugins.size_estimates]
"""


def workers(pid: int) -> list[int]:
    """All processes that come from it, it too."""
    return sorted(machine.descendants([pid], machine.processes()))


def memory(pids: list[int]) -> float:
    """MiB that are nobody's file. Not Pss: that rises when another program ends that had the same libraries."""
    kib = 0
    for pid in pids:
        found = re.search(r"^Anonymous:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        kib += int(found[1]) if found else 0
    return kib / 1024


def descriptors(pids: list[int]) -> int:
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


class People:
    """The clients. `gate` is closed while Portico is looked at."""

    def __init__(self, front: Front, authority: Path) -> None:
        self.front = front
        self.context = ssl.create_default_context(cafile=authority)
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self.gate = threading.Event()
        self.over = False
        self._inside = 0
        self._lock = threading.Condition()
        self.staying = [self._imap() for _ in range(STAYING)]
        for number, connection in enumerate(self.staying):
            if number % 2:
                connection.select("INBOX", readonly=True)
        self._threads = [threading.Thread(target=self._live, args=(random.Random(number),), daemon=True) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        self.gate.set()

    def _imap(self) -> imaplib.IMAP4:
        connection = imaplib.IMAP4_SSL("localhost", self.front.ports.imaps, ssl_context=self.context, timeout=60)
        connection.login("alice", PASSWORD)
        return connection

    def _live(self, chance: random.Random) -> None:
        ways: list[Callable[[random.Random], str]] = [self._lists, self._reads, self._polls, self._pop3, self._mistypes, self._vanishes]
        while not self.over:
            if not self.gate.wait(1):
                continue
            with self._lock:
                self._inside += 1
            try:
                self.done[chance.choice(ways)(chance)] += 1
            except Exception as error:
                self.faults.append(f"{type(error).__name__}: {error}")
            finally:
                with self._lock:
                    self._inside -= 1
                    self._lock.notify_all()

    def pause(self) -> None:
        """Returns when all who came have gone."""
        self.gate.clear()
        with self._lock:
            assert self._lock.wait_for(lambda: not self._inside, 120), "a client does not come to its end"

    def _lists(self, chance: random.Random) -> str:
        imap = self._imap()
        imap.list()
        _said(imap.select("INBOX"))
        _said(imap.fetch("1:*", "(UID FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE)"))
        _said(imap.uid("SEARCH", "UNSEEN"))
        imap.logout()
        return "lists"

    def _reads(self, chance: random.Random) -> str:
        imap = self._imap()
        count = int(_said(imap.select("INBOX", readonly=True))[0])
        for _ in range(5):
            _said(
                imap.fetch(
                    str(chance.randint(1, count)),
                    chance.choice(("(BODY.PEEK[])", "(RFC822.SIZE BODY.PEEK[HEADER])", "(BODY.PEEK[]<0.512>)")),
                )
            )
        imap.logout()
        return "reads"

    def _polls(self, chance: random.Random) -> str:
        imap = self._imap()
        _said(imap.select("INBOX", readonly=True))
        for _ in range(20):
            _said(imap.noop())
        imap.logout()
        return "polls"

    def _pop3(self, chance: random.Random) -> str:
        pop3 = poplib.POP3_SSL("localhost", self.front.ports.pop3s, context=self.context, timeout=60)
        pop3.user("alice")
        pop3.pass_(PASSWORD)
        count, _ = pop3.stat()
        pop3.list()
        pop3.uidl()
        for _ in range(3):
            pop3.retr(chance.randint(1, count))
        pop3.quit()
        return "pop3"

    def _mistypes(self, chance: random.Random) -> str:
        imap = imaplib.IMAP4_SSL("localhost", self.front.ports.imaps, ssl_context=self.context, timeout=60)
        try:
            imap.login("alice", "not the password")
        except imaplib.IMAP4.error:
            imap.logout()
            return "mistypes"
        raise AssertionError("a wrong password was taken")

    def _vanishes(self, chance: random.Random) -> str:
        """In the middle of an answer, or of the sign-in."""
        if chance.random() < 0.5:
            imap = self._imap()
            _said(imap.select("INBOX", readonly=True))
            imap.send(b"x FETCH 1:* (BODY.PEEK[])\r\n")
        else:
            imap = imaplib.IMAP4_SSL("localhost", self.front.ports.imaps, ssl_context=self.context, timeout=60)
        imap.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
        imap.shutdown()
        return "vanishes"

    def stop(self) -> None:
        self.over = True
        for thread in self._threads:
            thread.join(120)
        for connection in self.staying:
            with suppress(OSError, imaplib.IMAP4.error):
                _said(connection.noop())  # each is alive still
                self.done["stayed"] += 1
                connection.logout()


def _said(answer: tuple[str, list[bytes]]) -> list[bytes]:
    status, data = answer
    assert status == "OK", answer
    return data


def growth(samples: list[tuple[float, float]]) -> tuple[float, float]:
    """MiB that the line through all but the first third adds from its beginning to its end, and the median there."""
    rest = samples[len(samples) // 3 :]
    slope, _ = linear_regression([at for at, _ in rest], [mib for _, mib in rest])
    return slope * (rest[-1][0] - rest[0][0]), median(mib for _, mib in rest)


def soak(front: Front, authority: Path, seconds: float) -> list[str]:
    """What is wrong at the end."""
    assert front.child is not None
    pids = workers(front.child.pid)
    people = People(front, authority)
    began, samples, counts = time.monotonic(), list[tuple[float, float]](), list[int]()
    for number in range(1, SAMPLES + 1):
        time.sleep(max(0.0, began + seconds * number / SAMPLES - time.monotonic()))
        people.pause()
        time.sleep(0.5)  # the last ends reach both sides; a sample that is early only looks worse
        at = time.monotonic() - began
        samples.append((at, memory(pids)))
        counts.append(descriptors(pids))
        print(f"{at:6.0f} s  {samples[-1][1]:7.2f} MiB  {counts[-1]:4d} descriptors  {people.done.total():6d} visits", flush=True)
        people.gate.set()
    people.stop()
    grown, usual = growth(samples)
    print(f"memory: {grown:+.2f} MiB over the last two thirds, {usual:.1f} MiB usual; descriptors {min(counts)} to {max(counts)}")
    print(f"visits: {dict(people.done)}")
    wrong = [f"a client: {fault}" for fault in people.faults[:10]]
    if workers(front.child.pid) != pids:
        wrong.append("the processes are not those of the beginning")
    if grown > max(LEAST, NOISE * usual):
        wrong.append(f"memory has grown by {grown:.1f} MiB")
    if counts[-1] > counts[len(counts) // 3]:
        wrong.append(f"descriptors have grown from {counts[len(counts) // 3]} to {counts[-1]}")
    if people.done["stayed"] != STAYING:
        wrong.append(f"of {STAYING} sessions that stayed {people.done['stayed']} were there at the end")
    wrong += [f"the log: {line}" for line in front.log.read_text().splitlines() if '"session.bug"' in line or "session.bug" in line][:10]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Mixed load for a long time; memory and descriptors must come back.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=2)
    said = parser.parse_args()
    with ExitStack() as stack:
        place, issued, server = stack.enter_context(served())
        mailbox.fill_people(LOOPBACK, server.ports.imap)
        front = Front(place / "front", server.ports, issued, more=SETTINGS.format(workers=said.workers))
        stack.callback(front.stop)
        front.start()
        assert front.child is not None
        pid = front.child.pid
        wait_until("the workers", lambda: len(workers(pid)) >= said.workers + 2, seconds=30)
        wrong = soak(front, issued.authority, said.minutes * 60)
    print("\n".join(wrong) if wrong else "all came back")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
