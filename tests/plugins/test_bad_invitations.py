"""Whatever somebody sends as an invitation, the reader gets it, at once, and the log has a line about it at most.

Rule of this file: over POP3, where the message itself is looked at; the real plugin in a real session. Memory and time have limits that
are wide, but that anything which grows faster than its message would pass.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from portico.session.events import CLIENT, MAIN
from portico.testing import Correspondence
from portico_meeting_links import MeetingLinks, meeting

from tests.bad_input import BAD, EVENT, Bad, invitation

OPTIONS = {"webmail": "custom", "template": "https://mail.example.org/{message_id}"}
MANY_SECONDS = 30.0
MANY_OCTETS = 24 << 20
"""Of memory, beside the message."""
CHUNK = 65_536


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """What the calendar library loads at its first call is no message's fault."""
    assert meeting.read(EVENT.replace(b"SUMMARY", b"RDATE:20260101T120000Z\r\nRRULE:FREQ=DAILY\r\nSUMMARY")) is not None


@dataclass
class Cost:
    seconds: float = 0.0
    octets: int = 0
    """At most, at a time."""


@contextmanager
def cost() -> Iterator[Cost]:
    spent = Cost()
    tracemalloc.start()
    start = time.process_time()
    try:
        yield spent
        spent.seconds = time.process_time() - start
        spent.octets = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def stuffed(message: bytes) -> bytes:
    return (message if message.endswith(b"\r\n") else message + b"\r\n").replace(b"\r\n.", b"\r\n..") + b".\r\n"


def retrieved(session: Correspondence, body: bytes) -> bytes:
    """What the client gets of the message."""
    told, asked = session.letter(CLIENT, b"RETR 1\r\n")
    if asked == b"UIDL\r\n":
        told, asked = session.letter(MAIN, b"+OK\r\n1 one\r\n.\r\n")
    assert (told, asked) == (b"", b"RETR 1\r\n")
    answer = b"+OK %d octets\r\n" % len(body) + body
    return b"".join(session.letter(MAIN, answer[at : at + CHUNK])[0] for at in range(0, len(answer), CHUNK)).partition(b"\r\n")[2]


def said(session: Correspondence) -> list[dict[str, Any]]:
    return [fields for event, fields in session.events if event.startswith("annotations.")]


@pytest.mark.parametrize(("message", "bad"), [pytest.param(name, bad, id=name) for name, bad in BAD.items()])
def test_a_bad_invitation_reaches_its_reader(message: str, bad: Bad) -> None:
    body = stuffed(bad.make())
    with Correspondence(MeetingLinks, OPTIONS, protocol="pop3", name="meeting_links") as session:
        session.sign_in()
        with cost() as spent:
            read = retrieved(session, body)
        again = retrieved(session, body)
        assert again == read
        if bad.untouched:
            assert read == body, message
        else:
            assert len(read) >= len(body)
        assert len(said(session)) <= 1, said(session)
        assert session.faults == []
        assert spent.seconds < MANY_SECONDS
        assert spent.octets < MANY_OCTETS + 5 * len(body)  # most of these copies are ours


def test_what_a_good_one_becomes() -> None:
    """So that the others are untouched for what is bad in them."""
    with Correspondence(MeetingLinks, OPTIONS, protocol="pop3", name="meeting_links") as session:
        session.sign_in()
        assert retrieved(session, stuffed(invitation())).count(b"https://mail.example.org/bad%40example.org") == 1
        assert said(session) == []


@pytest.mark.parametrize("line", [b"RDATE:20260101", b"BEGIN:VEVENT", b"ATTENDEE;CN=x:mailto:a@example.org", b" ", b"\t\t\t", b"X" * 5000])
def test_a_million_lines_are_refused_at_once(line: bytes) -> None:
    octets = EVENT.replace(b"SUMMARY:Lunch\r\n", (line + b"\r\n") * (8_000_000 // len(line)))
    start = time.process_time()
    assert meeting.read(octets) is None
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    "line", [b"RDATE:20260101", b"BEGIN:VEVENT", b"METHOD:REQUEST", b" ", b"SUMMARY:x", b"END:VEVENT", b"\\\\", b"DTSTART;TZID=x:x"]
)
def test_as_much_as_is_read_is_read_in_time_and_memory_by_its_length(line: bytes) -> None:
    octets = EVENT.replace(b"SUMMARY:Lunch\r\n", (line + b"\r\n") * (250_000 // (len(line) + 2)))
    with cost() as spent:
        meeting.read(octets)
    assert spent.seconds < MANY_SECONDS
    assert spent.octets < MANY_OCTETS
