"""Whatever a server says while we ask it something on the side, the session goes on and the client sees nothing of it.

Rule of this file: a server that says what it likes, in any order and cut anywhere, and at last answers; nothing is known of it but that a
tag of ours, and what only we have asked for, never reach the client, and that each command of the client's is answered once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from portico.session.events import CLIENT, MAIN
from portico.testing import Correspondence

from tests.session.imap.test_annotated import PLAIN, SELECT, STRUCTURE, Annotates

NUMBERS = st.integers(1, 6)
UIDS = st.integers(1, 60)
MESSAGE = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nsome text to read...\r\n\r\n--b\r\nContent-Type: text/calendar\r\n\r\nBEGIN\r\n--b--\r\n"


def fetch(number: int, uid: int, item: bytes) -> bytes:
    return b"* %d FETCH (UID %d %b)\r\n" % (number, uid, item)


ITEMS = st.sampled_from(
    [
        b"BODYSTRUCTURE " + STRUCTURE.encode(),
        b"BODYSTRUCTURE " + PLAIN.encode(),
        b'BODYSTRUCTURE ("text" "calendar',
        b"BODYSTRUCTURE NIL",
        b"FLAGS (\\Seen) BODYSTRUCTURE " + STRUCTURE.encode(),
        b"RFC822.SIZE 200 ENVELOPE NIL",
        b"RFC822.SIZE %d ENVELOPE NIL" % len(MESSAGE),
        b"RFC822.SIZE 99999999999999999999 ENVELOPE (",
        b'BODY[2] "BEGIN"',
        b"BODY[2] {5}\r\nBEGIN",
        b"BODY[2] NIL",
        b"BODY[]<0> {%d}\r\n%b" % (len(MESSAGE), MESSAGE),
        b'BODY[]<0> ""',
        b"BODY[] {%d}\r\n%b" % (len(MESSAGE), MESSAGE),
        b"BODY[] {3}\r\nabc",
        b'BODY[1] "text"',
        b'BODY[1]<5> "text"',
        b"FLAGS ()",
    ]
)
SAYS = st.one_of(
    st.builds(fetch, NUMBERS, UIDS, ITEMS),
    st.sampled_from(
        [
            b"* 4 EXISTS\r\n", b"* 6 EXISTS\r\n", b"* 0 EXISTS\r\n", b"* 1 EXPUNGE\r\n", b"* 3 EXPUNGE\r\n", b"* 9 EXPUNGE\r\n",
            b"* VANISHED 20\r\n", b"* VANISHED 1:4294967295\r\n", b"* VANISHED (EARLIER) 1:5\r\n", b"* SEARCH 1 2 3\r\n", b"* SEARCH\r\n",
            b'* ESEARCH (TAG "portico2") ALL 1:3\r\n', b"* OK still here\r\n", b"* OK [UIDVALIDITY 10] new\r\n", b"* SORT 3 1 2\r\n",
            b"* 2 FETCH (\r\n", b"* LIST () NIL x\r\n", b"* STATUS INBOX (SIZE 5)\r\n",
        ]
    ),
)  # fmt: skip
ASKS = st.sampled_from(
    [b"FETCH 1:* RFC822.SIZE", b"UID FETCH 1:* (FLAGS BODY.PEEK[])", b"FETCH 2 BODY[1]<3.9>", b"SEARCH LARGER 100", b"NOOP", b"UID FETCH * BODY[1]",
     b"SORT (SIZE) UTF-8 ALL", b"FETCH 1:3 (BODY.PEEK[1] BODY.PEEK[]<0.5>)"]
)  # fmt: skip


def answered(session: Correspondence, asked: bytes, says: Sequence[bytes], ends: Sequence[bytes], cut: int) -> bytes:
    """The server says `says`, one before each of its answers and the rest at the end; what the client is told."""
    told = b""
    left = list(says)
    for turn in range(300):
        tags = re.findall(rb"(?:\A|\n)(portico\d+|c\d+) ", asked)
        if not tags:
            break
        asked = b""
        for tag in tags:
            said = left.pop(0) if left else b""
            for octets in (said, tag + b" " + ends[turn % len(ends)] + b" so it is\r\n"):
                more, further = session.pieces(MAIN, octets, cut)
                told, asked = told + more, asked + further
    assert not asked
    return told


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(ASKS, st.lists(SAYS, max_size=12)), min_size=1, max_size=4),
    st.lists(st.sampled_from([b"OK", b"OK", b"OK", b"NO", b"BAD"]), min_size=1, max_size=5),
    st.sampled_from([0, 1, 7, 50]),
)
def test_a_wild_server_changes_nothing_but_its_own_answers(asks: list[tuple[bytes, list[bytes]]], ends: list[bytes], cut: int) -> None:
    with Correspondence(Annotates()) as session:
        session.sign_in()
        session.play(SELECT)
        for index, (command, says) in enumerate(asks, 1):
            told, asked = session.letter(CLIENT, b"c%d %b\r\n" % (index, command))
            told += answered(session, asked, says, ends, cut)
            assert session.mode == "watch", session.end
            assert b"portico" not in told.replace(b'TAG "portico2"', b"")
            assert b"BODYSTRUCTURE" not in told.replace(b"* 2 FETCH (\r\n", b"") or command == b"NOOP" or _volunteered(told, says)
            assert len(re.findall(rb"(?:\A|\n)c%d " % index, told)) == 1, told


def _volunteered(told: bytes, says: Sequence[bytes]) -> bool:
    """What nobody has asked for while the client's own command was under way is the client's: the server means it."""
    return any(said in told for said in says if b"BODYSTRUCTURE" in said)
