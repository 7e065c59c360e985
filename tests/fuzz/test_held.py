"""What a session holds in memory stays within its limits, whatever either side sends, as long as it is read only when it may be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.session.context import ServerFacts
from portico.session.decisions import HoldClient, HoldServer, ReadClient, ReadServer, Tunnel
from portico.session.events import CLIENT, MAIN, BytesReceived
from portico.session.interests import Answer, Interests
from portico_fuzz.world import held

from tests.session.life import TARGET, Life, Pop3Life

LIMITS = {"line_before_login": 2000, "literal_before_login": 2000, "line": 2000, "literal": 100_000, "held": 2000, "bad_commands": 100_000}
BOUND = 200_000
"""Above all limits together, the largest of which are a line and a list of a server that is being signed in at (64 KiB each), and
far below what the letters below would come to."""
MANY = 600

CLIENT_SAYS = {
    "imap": [
        b"x\r\n" * 50, b"((((\r\n" * 50, b"a1 LOGIN alice x\r\n", b"a1 LOGIN {1999+}\r\n", b"a NOOP\r\n" * 50, b"a2 APPEND x {90000+}\r\n", b"a3 SELECT {1500}\r\n",
        b"a4 IDLE\r\n", b"a5 STATUS x\r\n", b"a1 AUTHENTICATE PLAIN\r\n", b"a1 AUTHENTICATE CRAM-MD5\r\n", b"y" * 1500,
    ],
    "pop3": [
        b"x\r\n" * 50, b"USER alice\r\nPASS x\r\n", b"NOOP\r\n" * 50, b"RETR 1\r\n" * 20, b"UIDL\r\n", b"CAPA\r\n", b"AUTH PLAIN\r\n", b"y" * 1500, b"AUTH CRAM-MD5\r\n",
    ],
}  # fmt: skip
SERVER_SAYS = {
    "imap": [
        b"* OK [CAPABILITY IMAP4rev1 ID] x\r\n", b"* OK [ALERT] " + b"x" * 500 + b"\r\n", b"P1 OK [CAPABILITY IMAP4rev1 X] in\r\n", b"+ \r\n",
        b"* 1 FETCH (BODY[] {90000}\r\n", b"* LIST () NIL {1500}\r\n", b"z" * 1500, b"P2 OK [CAPABILITY IMAP4rev1 X] in\r\n", b"a4 NO x\r\n",
        b"* CAPABILITY " + b"X" * 500 + b"\r\n",
    ],
    "pop3": [b"+OK\r\n", b"+OK [XCLIENT] hi\r\n", b"X-CAPA\r\n" * 50, b".\r\n", b"z" * 1500, b"-ERR no\r\n", b"+ \r\n"],
}  # fmt: skip
FACTS = {"imap": ServerFacts(mechanisms=("CRAM-MD5",)), "pop3": ServerFacts((b"USER",), (b"USER",), ("CRAM-MD5",))}
INTERESTS = Interests(
    commands={"STATUS": lambda view, command: Answer(), "UIDL": lambda view, command: Answer("x", [b"x" * 500])},
    responses={"LIST": lambda view, response: None, "RETR": lambda view, response: None},
)


def letters(protocol: str) -> st.SearchStrategy[list[tuple[int, bytes, int]]]:
    client = st.tuples(st.just(CLIENT), st.sampled_from(CLIENT_SAYS[protocol]), st.sampled_from([1, 1, MANY]))
    server = st.tuples(st.just(MAIN), st.sampled_from(SERVER_SAYS[protocol]), st.sampled_from([1, 1, MANY]))
    return st.lists(st.one_of(client, server), max_size=8)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_held_memory_never_passes_its_limit(protocol: str, data: st.DataObject) -> None:
    kind = Life if protocol == "imap" else Pop3Life
    life = kind(interests=INTERESTS, facts=FACTS[protocol], known=TARGET, mechanisms=["PLAIN", "CRAM-MD5"], limits=LIMITS)
    held_back: set[int] = set()
    for leg, letter, count in data.draw(letters(protocol)):
        for number in range(count):
            held_back = now_held_back(life, held_back)
            if life.end is not None or leg in held_back:
                break
            life.tell(BytesReceived(leg, letter))
            life.to_client = life.to_server = b""
            if number % 100 == 0:
                assert held(life.session) <= BOUND
        assert held(life.session) <= BOUND


def now_held_back(life: Life, before: set[int]) -> set[int]:
    """The legs that may not be read any more; what has been decided is forgotten, but for an end."""
    after = set(before)
    for decision in life.decisions:
        if isinstance(decision, HoldClient | HoldServer):
            after.add(CLIENT if isinstance(decision, HoldClient) else MAIN)
        elif isinstance(decision, ReadClient | ReadServer):
            after.discard(CLIENT if isinstance(decision, ReadClient) else MAIN)
        elif isinstance(decision, Tunnel):
            after |= {CLIENT, MAIN}
    if life.end is None:
        life.decisions.clear()
    return after
