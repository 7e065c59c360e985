"""Each named quirk is played once; a quirk without a test fails the last test here."""

from __future__ import annotations

from portico.session.context import Route, Target
from portico.session.interests import Interests, Refuse
from portico.wire import quirks
from portico.wire.imap import parse_status
from portico.wire.lines import Line, Reader

from tests.session.imap.letters import SERVER_GREETING
from tests.session.imap.test_watch import Room
from tests.session.life import Life


def test_tagged_ok_without_text() -> None:
    assert tuple(parse_status(b"OK") or ()) == ("OK", "", b"", b"")
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\n")
    life.server(SERVER_GREETING)
    life.server(b"P2 OK\r\n")
    assert life.server(b"* CAPABILITY IMAP4rev1\r\nP3 OK\r\n") == b"a1 OK [CAPABILITY IMAP4rev1] Signed in.\r\n"


def test_capabilities_not_volunteered() -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\n")
    assert life.answered(b"* OK Courier-IMAP ready.\r\n") == b"P1 CAPABILITY\r\n"


def test_bare_lf() -> None:
    assert Life().client(b"a1 NOOP\n") == b"a1 OK Nothing done.\r\n"


def test_brace_in_free_text() -> None:
    reader = Reader(100, 100, responses=True)
    reader.feed(b"a1 BAD unexpected {5}\r\n* BYE\r\n")
    assert [reader.next(), reader.next()] == [Line(b"a1 BAD unexpected {5}\r\n"), Line(b"* BYE\r\n")]


def test_starttls_not_listed() -> None:
    life = Life(route=Route(Target("main", "x:143", "starttls"), "alice"))
    life.client(b"a1 LOGIN alice secret\r\n")
    assert life.answered(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello\r\n") == b"P1 STARTTLS\r\n"
    assert b"PLAIN" not in life.answered(b"P1 NO no\r\n")


def test_literal_taken_for_commands() -> None:
    room = Room(Interests(commands={"DELETE": lambda view, command: Refuse("Not here.")}))
    room.client(b"a1 NOOP {17+}\r\na2 DELETE Trash\r\n\r\n")
    room.server(b"a1 OK done\r\n")
    assert room.take() == (b"a1 OK done\r\n", b"a1 NOOP {17}\r\n")


def test_each_quirk_has_its_test() -> None:
    assert {f"test_{quirk.name.lower()}" for quirk in quirks.ALL} <= set(globals())
