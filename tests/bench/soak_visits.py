"""The clients of a soak. See README.md here.

Rule of this file: each visit does what people's programs do, from sign-in to end, and says when an answer is not what it expects; none counts
on what another does. What is stored is removed again by who stored it, so that the mailboxes stay as they are.
"""

from __future__ import annotations

import imaplib
import poplib
import random
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from portico.demo import mailbox, messages
from portico.demo.mailbox import Folder
from portico.demo.ports import LOOPBACK, MailPorts

PATIENCE: Final = 60
USERS: Final = {f"user{number}": "wonderland" for number in range(12)}
STAYING: Final = 20
"""That stay signed in from the beginning to the end."""
CLIENTS: Final = 12
"""That come and go."""
PUBLIC: Final = '"Public Folders/Open"'
LASTING: Final = 200
"""Messages in each inbox that nobody removes; what `stores` stores stands behind them."""
LETTER: Final = messages.plain(70, "On the way", "It does not stay.\n" * 40)
ATTACHED: Final = messages.attachments(71, size=40 * 1024)


def fill(personal: MailPorts, store: MailPorts) -> None:
    """Give each user an inbox, with meeting requests in it, and make the public folders."""
    some = [message.octets for message in mailbox.alice()[0].messages]
    some += [messages.plain(100 + number, f"Letter {number}", "It says nothing much.\n" * number) for number in range(LASTING - len(some))]
    for user, password in USERS.items():
        with imaplib.IMAP4(LOOPBACK, personal.imap) as imap:
            imap.login(user, password)
            imap.send(b"x APPEND INBOX" + b"".join(b" {%d+}\r\n%b" % (len(octets), octets) for octets in some) + b"\r\n")
            while not (line := imap.readline()).startswith(b"x "):
                assert line, "the server has hung up"
            assert line.startswith(b"x OK"), line
    with imaplib.IMAP4(LOOPBACK, store.imap) as imap:
        imap.login(mailbox.OWNER, mailbox.USERS[mailbox.OWNER])
        mailbox.fill(imap, [*mailbox.public(), Folder(f"{mailbox.PUBLIC}/Open", [], [("anyone", "lrswipkxtea")], subscribed=False)])


class _Imap(imaplib.IMAP4_SSL):
    """From an address of the loopback network, as if clients were at many."""

    def __init__(self, port: int, context: ssl.SSLContext, source: str) -> None:
        self._source = source
        super().__init__("localhost", port, ssl_context=context, timeout=PATIENCE)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout, (self._source, 0))
        return self.ssl_context.wrap_socket(plain, server_hostname="localhost")

    def ask(self, line: str) -> None:
        """Send a command that is not answered at once."""
        self.send(b"x " + line.encode() + b"\r\n")

    def until(self, start: bytes) -> bytes:
        while not (line := self.readline()).startswith(start):
            assert line, "the connection ended"
        return line


class _Pop3(poplib.POP3_SSL):
    def __init__(self, port: int, context: ssl.SSLContext, source: str) -> None:
        self._source = source
        super().__init__("localhost", port, context=context, timeout=PATIENCE)

    def _create_socket(self, timeout: float) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout, (self._source, 0))
        return self.context.wrap_socket(plain, server_hostname="localhost")


class People:
    """The clients. `pause` while Portico is looked at; `pace` is how many visits a second they make in all, 0: as many as they can."""

    def __init__(self, ports: MailPorts, authority: Path, pace: float) -> None:
        self.ports = ports
        self.context = ssl.create_default_context(cafile=authority)
        self.pace = pace
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self.over = threading.Event()
        self._gate = threading.Event()
        self._inside = 0
        self._lock = threading.Condition()
        chance = random.Random("those who stay")
        self._staying = [self._settle(number, self._imap(chance)) for number in range(STAYING)]
        self._threads = [threading.Thread(target=self._live, args=(random.Random(number),), daemon=True) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    # -- who stays

    def _settle(self, number: int, imap: _Imap) -> _Imap:
        if number % 4 == 1:
            _said(imap.select("INBOX", readonly=True))
        elif number % 4 == 2:
            _said(imap.select(PUBLIC, readonly=True))
        elif number % 4 == 3:
            _said(imap.select("INBOX"))
            imap.ask("IDLE")
            imap.until(b"+")
        return imap

    def still_there(self) -> None:
        """Each that stays says something, as programs do before a server's patience ends; who is gone is a fault."""
        for number, imap in enumerate(self._staying):
            try:
                if number % 4 == 3:
                    imap.send(b"DONE\r\n")
                    assert imap.until(b"x ").startswith(b"x OK")
                    imap.ask("IDLE")
                    imap.until(b"+")
                else:
                    _said(imap.noop())
                self.done["stayed"] += 1
            except Exception as error:
                self.faults.append(f"session {number} that stays: {type(error).__name__}: {error}")

    # -- who comes and goes

    def _live(self, chance: random.Random) -> None:
        ways: list[Callable[[random.Random], None]] = [
            self.lists, self.reads, self.polls, self.pop3, self.mistypes, self.vanishes, self.idles, self.stores, self.visits_public_folders,
        ]  # fmt: skip
        while not self.over.is_set():
            if self.pace:
                self.over.wait(chance.expovariate(self.pace / CLIENTS))
            if not self._gate.wait(1):
                continue
            with self._lock:
                self._inside += 1
            way = chance.choice(ways)
            try:
                if self._gate.is_set():
                    way(chance)
                    self.done[way.__name__] += 1
            except Exception as error:
                self.faults.append(f"{way.__name__}: {type(error).__name__}: {error}")
                self.over.wait(1)
            finally:
                with self._lock:
                    self._inside -= 1
                    self._lock.notify_all()

    def go(self) -> None:
        self._gate.set()

    def pause(self) -> None:
        """Returns when all who came have gone."""
        self._gate.clear()
        with self._lock:
            if not self._lock.wait_for(lambda: not self._inside, 3 * PATIENCE):
                self.faults.append(f"{self._inside} clients do not come to their end")

    def stop(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(3 * PATIENCE)
        for imap in self._staying:
            with suppress(OSError, imaplib.IMAP4.error):
                imap.shutdown()

    def _imap(self, chance: random.Random, user: str = "", password: str = "") -> _Imap:
        user = user or chance.choice(list(USERS))
        imap = _Imap(self.ports.imaps, self.context, f"127.0.2.{chance.randint(1, 250)}")
        imap.login(user, password or USERS[user])
        return imap

    def lists(self, chance: random.Random) -> None:
        imap = self._imap(chance)
        _said(imap.list())
        _said(imap.select("INBOX"))
        _said(imap.fetch("1:*", "(UID FLAGS RFC822.SIZE ENVELOPE BODYSTRUCTURE)"))
        _said(imap.uid("SEARCH", "UNSEEN"))
        imap.logout()

    def reads(self, chance: random.Random) -> None:
        imap = self._imap(chance)
        _said(imap.select("INBOX", readonly=True))
        for _ in range(5):
            item = chance.choice(("(BODY.PEEK[])", "(RFC822.SIZE BODY.PEEK[HEADER])", "(BODY.PEEK[]<0.512>)"))
            _said(imap.fetch(str(chance.randint(1, LASTING)), item))
        imap.logout()

    def polls(self, chance: random.Random) -> None:
        imap = self._imap(chance)
        _said(imap.select("INBOX", readonly=True))
        for _ in range(20):
            _said(imap.noop())
        imap.logout()

    def idles(self, chance: random.Random) -> None:
        imap = self._imap(chance)
        _said(imap.select("INBOX", readonly=True))
        imap.ask("IDLE")
        imap.until(b"+")
        self.over.wait(chance.uniform(1, 8))
        imap.send(b"DONE\r\n")
        assert imap.until(b"x ").startswith(b"x OK")
        imap.logout()

    def stores(self, chance: random.Random) -> None:
        """A letter comes into the inbox, is marked and removed."""
        imap = self._imap(chance)
        _said(imap.select("INBOX"))
        self._store(imap, "INBOX", chance.choice((LETTER, ATTACHED)))
        imap.logout()

    def visits_public_folders(self, chance: random.Random) -> None:
        imap = self._imap(chance)
        found = _said(imap.list())
        assert any(isinstance(line, bytes) and line.endswith(PUBLIC.encode()) for line in found), "no public folders"
        _said(imap.select('"Public Folders/Team"', readonly=True))
        _said(imap.fetch("1:*", "(UID FLAGS RFC822.SIZE BODY.PEEK[])"))
        _said(imap.select("INBOX", readonly=True))
        taken = str(chance.randint(1, 10))
        status, text = imap.copy(taken, PUBLIC)
        assert status == "OK", text
        copied = re.search(rb"COPYUID \d+ \d+ (\d+)", text[0])
        assert copied, text
        _said(imap.select(PUBLIC))
        self._store(imap, PUBLIC, LETTER)
        self._remove(imap, copied[1].decode())
        imap.logout()

    def _store(self, imap: _Imap, box: str, letter: bytes) -> None:
        status, text = imap.append(box, "(\\Seen)", imaplib.Time2Internaldate(time.time()), letter)
        assert status == "OK", text
        stored = re.search(rb"APPENDUID \d+ (\d+)", text[0])
        assert stored, text
        self._remove(imap, stored[1].decode())

    def _remove(self, imap: _Imap, uid: str) -> None:
        _said(imap.uid("STORE", uid, "+FLAGS.SILENT", "(\\Deleted)"))
        _said(imap.uid("EXPUNGE", uid))

    def pop3(self, chance: random.Random) -> None:
        user = chance.choice(list(USERS))
        pop3 = _Pop3(self.ports.pop3s, self.context, f"127.0.2.{chance.randint(1, 250)}")
        pop3.user(user)
        pop3.pass_(USERS[user])
        assert pop3.stat()[0] >= LASTING
        pop3.list()
        pop3.uidl()
        for _ in range(3):
            pop3.retr(chance.randint(1, LASTING))
        pop3.quit()

    def mistypes(self, chance: random.Random) -> None:
        """From addresses that nobody else has, which have to wait; most know no name here either."""
        imap = _Imap(self.ports.imaps, self.context, f"127.{chance.randint(1, 250)}.{chance.randint(1, 250)}.{chance.randint(1, 250)}")
        user = chance.choice(list(USERS)) if chance.random() < 0.2 else f"nobody{chance.randrange(10**9)}"
        try:
            imap.login(user, "not the password")
        except imaplib.IMAP4.error:
            imap.logout()
            return
        raise AssertionError("a wrong password was taken")

    def vanishes(self, chance: random.Random) -> None:
        """In the middle of an answer, or of the sign-in."""
        if chance.random() < 0.5:
            imap = self._imap(chance)
            _said(imap.select("INBOX", readonly=True))
            imap.ask("FETCH 1:* (BODY.PEEK[])")
        else:
            imap = _Imap(self.ports.imaps, self.context, f"127.0.2.{chance.randint(1, 250)}")
        imap.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        imap.shutdown()


def _said(answer: tuple[str, list[bytes]]) -> list[bytes]:
    status, data = answer
    # What `stores` has removed meanwhile cannot be read (RFC 5530).
    assert status == "OK" or b"[EXPUNGEISSUED]" in data[0], answer
    return data
