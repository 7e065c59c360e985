"""Bad invitations, large ones, and a restart: as an operator's proxy meets them, in front of a real server.

Rule of this file: `portico run` with the plugin as it is installed, in front of Dovecot; messages are stored straight on the server and
compared with what Portico shows of them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.testing import eventually
from portico.testing.client import Dialogue
from portico.wire.bodystructure import parse_structure
from portico.wire.imap import parse_fetch, unquoted

from tests.bad_input import BAD, EVENT, mixed
from tests.live.front import Front
from tests.live.people import PASSWORD, People

pytestmark = pytest.mark.live

LINK = b"https://mail.example.org/apps/mail/open/bad%40example.org"
OPTIONS = '[plugins.meeting_links]\nwebmail = "nextcloud"\nhost = "mail.example.org"\nlanguage = "{language}"\n'
MEBI = 1 << 20


def store(server: Dovecot, user: str, messages: Sequence[bytes]) -> None:
    with Dialogue(server.ports.imap) as imap:
        imap.line()
        imap.command(f"a LOGIN {user} {PASSWORD}".encode())
        for message in messages:
            imap.send(b"b APPEND INBOX {%d}\r\n" % len(message))
            assert imap.line().startswith(b"+")
            imap.send(message + b"\r\n")
            assert b"\r\nb OK" in b"\r\n" + imap.until(b"b")


def answer(dialogue: Dialogue, command: bytes, end: bytes) -> bytes:
    """All that comes up to a line that begins with `end`: of large answers no octet is looked at twice."""
    dialogue.send(command + b"\r\n")
    return rest(dialogue, end)


def rest(dialogue: Dialogue, end: bytes) -> bytes:
    read = bytearray(b"\r\n")
    while b"\r\n" + end not in read[-200:] or not read.endswith(b"\r\n"):
        some = dialogue.socket.recv(MEBI)
        assert some, bytes(read[-200:])
        read += some
    return bytes(read[2:])


class Imap:
    """A session, INBOX selected."""

    def __init__(self, port: int, user: str) -> None:
        self.dialogue = Dialogue(port)
        self.dialogue.line()
        assert b"a OK" in self.dialogue.command(f"a LOGIN {user} {PASSWORD}".encode())
        self.dialogue.command(b"s SELECT INBOX")

    def item(self, number: int, asked: str, named: str) -> bytes:
        told = answer(self.dialogue, f"d FETCH {number} ({asked})".encode(), b"d ")
        end = told.rindex(b"d OK")
        return parse_fetch(told[:end].rstrip(b"\r\n")).value(named) or b""

    def whole(self, number: int) -> bytes:
        return unquoted(self.item(number, "BODY.PEEK[]", "BODY[]")) or b""

    def size(self, number: int) -> int:
        return int(self.item(number, "RFC822.SIZE", "RFC822.SIZE"))


@contextmanager
def imap(port: int, user: str) -> Iterator[Imap]:
    session = Imap(port, user)
    try:
        yield session
    finally:
        session.dialogue.close()


@contextmanager
def pop3(port: int, user: str) -> Iterator[Dialogue]:
    with Dialogue(port) as dialogue:
        dialogue.line()
        for command in (f"USER {user}", f"PASS {PASSWORD}"):
            dialogue.send(command.encode() + b"\r\n")
            assert dialogue.line().startswith(b"+OK")
        yield dialogue
        dialogue.send(b"QUIT\r\n")
        dialogue.line()


def retrieved(dialogue: Dialogue, number: int) -> bytes:
    return answer(dialogue, b"RETR %d" % number, b".\r\n").partition(b"\r\n")[2]


def digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def said(front: Front) -> list[dict[str, Any]]:
    """All about annotations but how many a session was shown."""
    return [event for event in front.events() if event["event"].startswith("annotations.") and event["event"] != "annotations.shown"]


def test_bad_invitations_are_the_servers_octet_for_octet_and_said_once(
    dovecot: Dovecot, portico: Callable[..., Front], people: People
) -> None:
    front = portico(dovecot, "none", more=OPTIONS.format(language="en"))
    user, bads = people.new(dovecot), list(BAD.values())
    store(dovecot, user, [bad.make() for bad in bads])
    before = len(said(front))
    with imap(dovecot.ports.imap, user) as direct, imap(front.clear.imap, user) as through:
        sizes = [through.size(number) for number in range(1, len(bads) + 1)]
        for number, (name, bad) in enumerate(BAD.items(), 1):
            was, now = direct.whole(number), through.whole(number)
            assert sizes[number - 1] == len(now), name
            if bad.untouched:
                assert digest(now) == digest(was), name
                assert through.item(number, "BODYSTRUCTURE", "BODYSTRUCTURE") == direct.item(number, "BODYSTRUCTURE", "BODYSTRUCTURE"), name
            else:
                assert len(now) >= len(was)
    lines = said(front)[before:]
    assert len({line["uid"] for line in lines}) == len(lines)
    assert {line["event"] for line in lines} == {"annotations.passed_over"}
    with imap(front.clear.imap, user) as again:
        assert [again.size(number) for number in range(1, len(bads) + 1)] == sizes
    assert len(said(front)[before:]) == len(lines)
    assert not front.events("session.bug")
    assert not front.events("plugin.failed")


def test_over_pop3_too(dovecot: Dovecot, portico: Callable[..., Front], people: People) -> None:
    front = portico(dovecot, "none", more=OPTIONS.format(language="en"))
    user = people.new(dovecot)
    small = {name: made for name, bad in BAD.items() if bad.untouched and len(made := bad.make()) < MEBI}
    store(dovecot, user, list(small.values()))
    before = len(said(front))
    with pop3(dovecot.ports.pop3, user) as direct:
        originals = [digest(retrieved(direct, number)) for number in range(1, len(small) + 1)]
    for _ in range(2):
        with pop3(front.clear.pop3, user) as through:
            read = [digest(retrieved(through, number)) for number in range(1, len(small) + 1)]
        assert [name for name, was, now in zip(small, originals, read, strict=True) if was != now] == []
    lines = said(front)[before:]
    assert len({line["uid"] for line in lines}) == len(lines)
    assert {line["event"] for line in lines} <= {"annotations.passed_over"}


# -- much at once


ATTACHMENT = b"".join(b"%072d\r\n" % line for line in range(420_000))
LARGE = mixed(
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nWill you come?\r\n",
    b"Content-Type: text/calendar; charset=utf-8; method=REQUEST\r\n\r\n" + EVENT,
    b"Content-Type: application/octet-stream\r\n\r\n" + ATTACHMENT,
)


def test_a_large_invitation_costs_no_memory_of_its_size(dovecot: Dovecot, portico: Callable[..., Front], people: People) -> None:
    """While several sessions are in the middle of it, which their clients do not read."""
    assert len(LARGE) > 30_000_000
    front = portico(dovecot, "none", more=OPTIONS.format(language="en"))
    user = people.new(dovecot)
    store(dovecot, user, [LARGE])
    with imap(front.clear.imap, user) as first:
        whole = first.whole(1)
        assert whole.count(LINK) == 1
        assert len(whole) == first.size(1)
        assert digest(unquoted(first.item(1, "BODY.PEEK[3]", "BODY[3]")) or b"") == digest(ATTACHMENT)
    with pop3(front.clear.pop3, user) as first_pop3:
        body = retrieved(first_pop3, 1)
        assert body.count(LINK) == 1
        assert len(body) > len(LARGE)
    before = front.memory()
    waiting: list[Dialogue] = []
    try:
        for ask in (b"d FETCH 1 (BODY.PEEK[])", b"d FETCH 1 (BODY.PEEK[3])", b"RETR 1"):
            pop = ask.startswith(b"RETR")
            dialogue = Dialogue(front.clear.pop3 if pop else front.clear.imap, receive_buffer=8192)
            waiting.append(dialogue)
            dialogue.line()
            for command in (f"USER {user}", f"PASS {PASSWORD}") if pop else (f"a LOGIN {user} {PASSWORD}", "s SELECT INBOX"):
                dialogue.send(command.encode() + b"\r\n")
                assert b"+OK" in dialogue.line() if pop else b" OK" in dialogue.until(command[:1].encode())
            dialogue.send(ask + b"\r\n")
            assert dialogue.socket.recv(4096)  # it is under way
        held = max(front.memory() for _ in range(50)) - before
        assert held < 12 * MEBI, held
        for dialogue, end in zip(waiting, (b"d OK", b"d OK", b".\r\n"), strict=True):
            assert len(rest(dialogue, end)) > 30_000_000 - 200_000
    finally:
        for dialogue in waiting:
            dialogue.close()
    assert front.memory() - before < 12 * MEBI


# -- a restart


def invitations(count: int, start: int = 0) -> list[bytes]:
    message = mixed(
        b"Content-Type: text/plain; charset=utf-8\r\n\r\nWill you come?\r\n",
        b"Content-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>Will you come?</p></body></html>\r\n",
        b"Content-Type: text/calendar; charset=utf-8; method=REQUEST\r\n\r\n" + EVENT,
    )
    return [message.replace(b"bad@example.org", b"m%d@example.org" % number) for number in range(start, start + count)]


def test_after_a_restart_with_other_settings_what_was_seen_is_as_it_was(
    dovecot: Dovecot, place: Path, certificates: Certificates, people: People
) -> None:
    user = people.new(dovecot)
    store(dovecot, user, invitations(3))
    directory = place / "restarts"
    remembered = f'\n[annotations]\nfile = "{directory / "annotations.sqlite"}"\n'
    other = OPTIONS.format(language="de").replace("nextcloud", "roundcube").replace("mail.example.org", "other.example.org")
    settings = {
        "as it was": OPTIONS.format(language="en"),
        "other links, in another language": other,
        "no new ones": other + f'exclude_users = ["{user}"]\n',
        "as it was again": OPTIONS.format(language="en"),
    }
    seen: dict[int, tuple[int, bytes]] = {}
    fresh: dict[str, bytes] = {}
    for name, options in settings.items():
        front = Front(directory, dovecot.ports, certificates, "none", protocols=("imap",), more=options + remembered)
        front.start()
        try:
            count = len(seen) or 3
            if seen:
                store(dovecot, user, invitations(1, start=count))
                count += 1
            with imap(front.clear.imap, user) as session:
                for number in range(1, count + 1):
                    size, whole = session.size(number), session.whole(number)
                    structure = parse_structure(session.item(number, "BODYSTRUCTURE", "BODYSTRUCTURE"))
                    text = unquoted(session.item(number, "BODY.PEEK[1]", "BODY[1]")) or b""
                    assert (size, structure.parts[0].octets) == (len(whole), len(text))
                    assert seen.setdefault(number, (size, whole)) == (size, whole), (name, number)
                    if number == count:
                        fresh[name] = whole
            assert eventually(lambda front=front: not front.events("annotations.contradicted"))
        finally:
            front.stop()
    assert b"https://mail.example.org/apps/mail/open/" in fresh["as it was"]
    assert b"https://other.example.org/" in fresh["other links, in another language"]
    assert b"https://" not in fresh["no new ones"]
    assert b"https://mail.example.org/apps/mail/open/" in fresh["as it was again"]


def test_a_copy_of_what_was_shown_gets_no_second_block_and_is_as_large_as_was_told(
    dovecot: Dovecot, portico: Callable[..., Front], people: People
) -> None:
    """Its size has been told before its text is read."""
    front = portico(dovecot, "none", more=OPTIONS.format(language="en"))
    user = people.new(dovecot)
    store(dovecot, user, invitations(1))
    with imap(front.clear.imap, user) as session:
        shown = session.whole(1)
        blocks = shown.count(b"<!-- portico -->"), shown.count(b"-~-~-~-~\r\n"), shown.count(b"https://")
        assert blocks[0] == 1
    store(dovecot, user, [shown])
    with imap(front.clear.imap, user) as session:
        size = session.size(2)
        structure = parse_structure(session.item(2, "BODYSTRUCTURE", "BODYSTRUCTURE"))
        copy = session.whole(2)
        assert (copy.count(b"<!-- portico -->"), copy.count(b"-~-~-~-~\r\n"), copy.count(b"https://")) == blocks
        assert len(copy) == size
        for leaf in structure.parts:
            part = unquoted(session.item(2, f"BODY.PEEK[{leaf.number}]", f"BODY[{leaf.number}]")) or b""
            assert (leaf.octets, leaf.lines) == (len(part), part.count(b"\n"))
    assert not front.events("annotations.contradicted")


def test_while_the_memory_is_locked_mail_is_read_as_it_is_and_so_it_stays(
    dovecot: Dovecot, place: Path, certificates: Certificates, people: People
) -> None:
    user = people.new(dovecot)
    store(dovecot, user, invitations(1))
    file = place / "locked.sqlite"
    # One worker: what cannot be written each remembers for itself.
    remembered = f'\n[annotations]\nfile = "{file}"\n[workers]\ncount = 1\n'
    front = Front(
        place / "locked", dovecot.ports, certificates, "none", protocols=("imap",), more=OPTIONS.format(language="en") + remembered
    )
    front.start()
    other = sqlite3.connect(file, isolation_level=None)
    try:
        with imap(front.clear.imap, user) as session:
            first = session.whole(1)
            assert b"https://mail.example.org/" in first
        store(dovecot, user, invitations(1, start=1))
        other.execute("BEGIN IMMEDIATE")
        with imap(front.clear.imap, user) as session:
            assert session.whole(1) == first
            second = session.whole(2)
            assert b"https://mail.example.org/" not in second
        other.execute("ROLLBACK")
        assert [event["level"] for event in front.events("annotations.not_remembered")] == ["error"]
        with imap(front.clear.imap, user) as session:
            assert [session.whole(1), session.whole(2)] == [first, second]
        assert not front.events("session.bug")
    finally:
        other.close()
        front.stop()
