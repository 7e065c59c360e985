"""A size never changes under a client: whatever sessions of a user do, in whatever order, and though the proxy is begun again.

Rule of this file: a server that answers what it is asked, and Hypothesis, which says what is asked; each size that reaches a client is the one
that reached somebody first, searches and sorting go by it, and STATUS is not less than the sum.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from portico.ledger.ledger import SqliteLedger
from portico.plugin import Interests, Session, Sketch, hookimpl
from portico.session.events import CLIENT, MAIN
from portico.testing import Correspondence
from portico.wire.fetch import chosen, parse_fetch_command
from portico.wire.imap import parse_arguments, parse_command, parse_fetch


class Wavering:
    """Says another size each time it is asked, learns from what it hears, and asks for samples or not."""

    portico_interests = ("sizes",)

    def __init__(self, sample: int) -> None:
        self.sample = sample
        self.next = 100

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(sizer=self)

    def serves(self, session: Session) -> bool:
        return True

    def learn(self, session: Session, sketch: Sketch, size: int) -> None:
        self.next += size

    def estimate(self, session: Session, sketch: Sketch) -> int:
        self.next = self.next * 7 % 3001 + 1
        return self.next


class Mailbox:
    """What the server has: UID to message, rising."""

    def __init__(self) -> None:
        self.messages: dict[int, bytes] = {}
        self.next = 1

    def append(self, octets: int) -> None:
        self.messages[self.next] = b"x" * octets
        self.next += 1 + octets % 3

    @property
    def uids(self) -> list[int]:
        return list(self.messages)

    def answer(self, line: bytes) -> bytes:
        """What it says to a command."""
        head = parse_command(line.removesuffix(b"\r\n"))
        answers: dict[str, Callable[[bytes, bool], bytes]] = {
            "SELECT": lambda arguments, uid: b"* %d EXISTS\r\n* OK [UIDVALIDITY 9] v\r\n" % len(self.messages),
            "FETCH": self.fetch,
            "SEARCH": lambda arguments, uid: b"* SEARCH%b\r\n" % self._numbered(self.search(arguments), uid),
            "SORT": lambda arguments, uid: b"* SORT%b\r\n" % self._numbered(self.sort(arguments), uid),
            "STATUS": lambda arguments, uid: b"* STATUS INBOX (SIZE %d)\r\n" % sum(map(len, self.messages.values())),
            "NOOP": lambda arguments, uid: b"* %d EXISTS\r\n" % len(self.messages),
        }
        return answers[head.name](head.arguments, head.uid) + head.tag + b" OK done\r\n"

    def _numbered(self, uids: list[int], uid: bool) -> bytes:
        return b"".join(b" %d" % (each if uid else self.uids.index(each) + 1) for each in uids)

    def fetch(self, arguments: bytes, uid: bool) -> bytes:
        command = parse_fetch_command(arguments)
        among = self.uids if uid else range(1, len(self.messages) + 1)
        said = b""
        for each in chosen(command.messages, among, max(among, default=0)):
            number = self.uids.index(each) + 1 if uid else each
            items = [self._item(item.name, self.uids[number - 1]) for item in command.items]
            said += b"* %d FETCH (%b)\r\n" % (number, b" ".join(items))
        return said

    def _item(self, name: str, uid: int) -> bytes:
        message = self.messages[uid]
        return {
            "UID": b"UID %d" % uid,
            "FLAGS": b"FLAGS ()",
            "INTERNALDATE": b'INTERNALDATE "01-Jan-2026 10:00:00 +0100"',
            "RFC822.SIZE": b"RFC822.SIZE %d" % len(message),
            "BODYSTRUCTURE": b"BODYSTRUCTURE NIL",
            "BODY.PEEK": b"BODY[] {%d}\r\n%b" % (len(message), message),
        }[name]

    def search(self, arguments: bytes) -> list[int]:
        keys: list[Any] = parse_arguments(arguments)
        found = self.uids
        while keys:
            test = self._key(keys)
            found = [uid for uid in found if test(uid)]
        return found

    def sort(self, arguments: bytes) -> list[int]:
        by_size = (lambda uid: len(self.messages[uid])) if b"SIZE" in arguments else None
        return sorted(self.uids, key=by_size, reverse=b"REVERSE" in arguments)

    def _key(self, keys: list[Any]) -> Callable[[int], bool]:
        key = keys.pop(0)
        if isinstance(key, list):
            tests = []
            while key:
                tests.append(self._key(key))
            return lambda uid: all(test(uid) for test in tests)
        if key == b"NOT":
            test = self._key(keys)
            return lambda uid: not test(uid)
        if key == b"OR":
            one, other = self._key(keys), self._key(keys)
            return lambda uid: one(uid) or other(uid)
        if key == b"ALL":
            return lambda uid: True
        value = keys.pop(0)
        if key == b"UID":
            there = chosen(value, self.uids, max(self.uids, default=0))
            return lambda uid: uid in there
        limit = int(value)
        return lambda uid: len(self.messages[uid]) > limit if key == b"LARGER" else len(self.messages[uid]) < limit


class House:
    """The user's two sessions, the memory of the proxy, and what anybody has been told."""

    def __init__(self, path: Path, sample: int) -> None:
        self.path = path
        self.sample = sample
        self.mailbox = Mailbox()
        for octets in (10, 2000, 500, 3):
            self.mailbox.append(octets)
        self.told: dict[int, int] = {}
        self.tag = 0
        self.begin()

    def begin(self) -> None:
        """The proxy is started."""
        self.ledger = SqliteLedger(self.path)
        self.plugin = Wavering(self.sample)
        self.sessions = [self.session() for _ in range(2)]

    def end(self) -> None:
        for session in self.sessions:
            self.ask(session, b"NOOP")
            session.__exit__(None, None, None)
        self.sessions = []
        self.ledger.close()

    def session(self) -> Correspondence:
        one = Correspondence(self.plugin)
        one.session.context.sizes = self.ledger
        one.sign_in()
        self.ask(one, b"SELECT INBOX")
        return one

    def ask(self, session: Correspondence, *commands: bytes) -> bytes:
        """Ask, several at once where they are several, let the server answer, and look at the sizes told."""
        asked = b""
        for command in commands:
            self.tag += 1
            asked += b"t%d %b\r\n" % (self.tag, command)
        said, sent = session.letter(CLIENT, asked)
        while sent:
            line, _, sent = sent.partition(b"\r\n")
            told, more = session.letter(MAIN, self.mailbox.answer(line))
            said, sent = said + told, sent + more
        assert said.endswith(b"t%d OK done\r\n" % self.tag) or b"t%d OK Search completed" % self.tag in said
        for response in re.findall(rb"\* \d+ FETCH \((?:[^{}\r]|\{\d+\}\r\nx*)*\)\r\n", said):
            self.heard(parse_fetch(response))
        return said

    def heard(self, response: Any) -> None:
        size = response.value("RFC822.SIZE")
        uid = self.mailbox.uids[response.number - 1]
        assert response.uid in (None, uid)
        if size is not None:
            assert self.told.setdefault(uid, int(size)) == int(size), "the size has changed"

    def size(self, uid: int) -> int:
        return self.told.get(uid, len(self.mailbox.messages[uid]))


ITEMS = st.sampled_from(
    [
        b"RFC822.SIZE", b"(UID RFC822.SIZE)", b"FAST", b"(FLAGS RFC822.SIZE)", b"(RFC822.SIZE BODYSTRUCTURE)", b"(RFC822.SIZE BODY.PEEK[])",
        b"(BODY.PEEK[] RFC822.SIZE UID)", b"BODY.PEEK[]", b"(UID FLAGS)",
    ]
)  # fmt: skip
FETCH = st.tuples(st.sampled_from([b"FETCH", b"UID FETCH"]), st.sampled_from([b"1", b"1:*", b"*", b"2:3", b"1,3"]), ITEMS).map(b" ".join)
SEARCH = st.tuples(st.sampled_from([b"LARGER", b"NOT SMALLER", b"OR SMALLER 5 LARGER"]), st.integers(0, 3000))
STEP = st.one_of(
    st.tuples(st.just("fetch"), st.integers(0, 1), st.lists(FETCH, min_size=1, max_size=3)),
    st.tuples(st.just("search"), st.integers(0, 1), SEARCH),
    st.tuples(st.just("sort"), st.integers(0, 1), st.booleans()),
    st.tuples(st.just("append"), st.integers(0, 1), st.integers(1, 2500)),
    st.tuples(st.just("expunge"), st.integers(0, 1), st.integers(0, 5)),
    st.tuples(st.sampled_from(["status", "restart", "select"]), st.integers(0, 1), st.none()),
)


def taken(house: House, what: str, number: int, how: Any) -> Iterator[bool]:
    """A step; what must be true behind it."""
    session = house.sessions[number]
    if what == "fetch":
        there = len(house.mailbox.messages) >= 3 or all(b"UID" in each[:3] for each in how)
        house.ask(session, *(how if there else [b"NOOP"]))
    elif what == "search":
        key, limit = how
        said = house.ask(session, b"UID SEARCH %b %d" % (key, limit))
        found = {int(each) for each in said.partition(b"\r\n")[0].split()[2:]}
        yield found == {
            uid
            for uid in house.mailbox.messages
            if (house.size(uid) >= limit if b"NOT" in key else house.size(uid) > limit) or (b"OR" in key and house.size(uid) < 5)
        }
    elif what == "sort":
        said = house.ask(session, b"UID SORT (%bSIZE) UTF-8 ALL" % (b"REVERSE " if how else b""))
        sizes = [house.size(int(each)) for each in said.partition(b"\r\n")[0].split()[2:]]
        yield sizes == sorted(sizes, reverse=how) and len(sizes) == len(house.mailbox.messages)
    elif what == "append":
        house.mailbox.append(how)
    elif what == "expunge":
        uids = house.mailbox.uids
        if how < len(uids):
            del house.mailbox.messages[uids[how]]
            for each in house.sessions:
                each.server(b"* %d EXPUNGE\r\n" % (how + 1))
    elif what == "restart":
        house.end()
        house.begin()
    elif what == "select":
        house.ask(session, b"SELECT INBOX")
    else:
        said = house.ask(session, b"STATUS INBOX (SIZE)")
        total = int(said.partition(b")")[0].rpartition(b" ")[2])
        yield total >= sum(map(house.size, house.mailbox.messages))


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=20), st.sampled_from([0, 2, 100]))
def test_a_size_once_told_is_told_ever_after(steps: list[tuple[str, int, Any]], sample: int) -> None:
    with TemporaryDirectory() as directory:
        house = House(Path(directory) / "ledger", sample)
        try:
            for step in steps:
                assert all(taken(house, *step)), step
        finally:
            house.end()
