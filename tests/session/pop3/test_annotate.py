"""Bodies over POP3: dots, pieces, tops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.plugin import Insertion, Interests, Outline, Session, hookimpl
from portico.session.annotations.annotation import Annotation, Located, Piece
from portico.session.events import MAIN
from portico.session.pop3.annotate import Annotated, Stuffed, Unstuffed
from portico.testing import Correspondence

LINES = st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"a.b", b"text of a line"]), max_size=8)


def stuffed(message: bytes) -> bytes:
    lines = message.split(b"\r\n")[:-1]
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[low:high] for low, high in pairwise(edges)]


def passed(passing: Annotated, body: bytes, cuts: list[int]) -> bytes:
    cut = pieces(body, cuts)
    return b"".join(passing.feed(piece, last=index == len(cut) - 1) for index, piece in enumerate(cut))


@given(LINES, st.lists(st.integers(0, 500), max_size=6))
def test_dots_are_taken_off_and_put_back_however_the_body_is_cut(lines: list[bytes], cuts: list[int]) -> None:
    message = b"".join(line + b"\r\n" for line in lines)
    body = stuffed(message)
    out, again = Unstuffed(), Stuffed()
    cut = pieces(body, cuts)
    plain = [out.feed(piece, last=index == len(cut) - 1) for index, piece in enumerate(cut)]
    assert b"".join(plain) == message
    assert b"".join(again.feed(piece) for piece in plain) + again.end() == body


HEADER = b"Subject: x\r\n\r\n"
TEXT = b"one\r\n.two\r\n..\r\nfour\r\n"
BLOCK = b".see\r\nhere\r\n"


@given(st.integers(-1, 8), st.integers(0, 2), st.lists(st.integers(0, 100), max_size=6))
def test_an_annotated_message_has_its_block_and_its_top_is_cut_behind_it(lines: int, place: int, cuts: list[int]) -> None:
    at = [0, TEXT.index(b".two"), len(TEXT)][place]
    made = Annotation(
        len(HEADER + TEXT),
        (Piece("1", BLOCK, 2, BLOCK, "start"),),
        Located(len(HEADER), {"1": len(HEADER)}, {"1": at}, {"1": at}),
    )
    text = TEXT[:at] + BLOCK + TEXT[at:]
    wanted = HEADER + b"".join(text.splitlines(keepends=True)[: lines if lines >= 0 else None])
    body = HEADER + (b"".join(TEXT.splitlines(keepends=True)[:lines]) if lines >= 0 else TEXT)
    if place == 2 and lines > 4:
        return  # the server's own end is not seen in a TOP that is longer than the text
    assert passed(Annotated(made, lines), stuffed(body), cuts) == stuffed(wanted)


class Says:
    """Annotates the first text of every message that has one of `types`."""

    portico_interests = ("annotations",)

    def __init__(self, types: Sequence[str]) -> None:
        self.types = types

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(annotator=self)

    def wants(self, session: Session, outline: Outline) -> Sequence[str]:
        return ()

    def insertions(self, session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Sequence[Insertion]:
        return [Insertion(part.number, "see\n") for part in outline.structure.walk() if part.type.startswith("text/")]


@pytest.mark.parametrize(
    ("types", "header", "annotated"),
    [
        ((), "", True),
        ((), "Content-Type: text/html", True),
        (("text/plain",), "", True),
        (("text/plain",), "Content-Type: TEXT/Plain", True),
        (("text/html",), "Content-Type: text/html", True),
        (("text/html",), "Content-Type: text/plain", False),
        (("text/calendar",), "Content-Type: text/calendar", False),  # only plain text and HTML carry blocks
        ((), "Content-Type: image/png", False),
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 9])
def test_a_message_of_one_part_is_annotated_as_over_imap(types: Sequence[str], header: str, annotated: bool, cut: int) -> None:
    body = f"Subject: x\r\nX-More: y\r\n{header}{chr(13) + chr(10) if header else ''}\r\n..Hello!\r\n.\r\n".encode()
    with Correspondence(Says(types), protocol="pop3") as session:
        session.sign_in()
        assert session.asked(b"RETR 1\r\n") == b"UIDL\r\n"
        session.server(b"+OK\r\n1 u1\r\n.\r\n")
        # The server has told too little; nothing is cut for that.
        told, _ = session.pieces(MAIN, b"+OK 40 octets\r\n" + body, cut)
        assert told.endswith(b"..Hello!\r\n.\r\n")
        assert (b"see\r\n" in told) == annotated
        assert annotated or told == b"+OK 40 octets\r\n" + body
        # Read for the first time or again, it is as large as its status line says it has become.
        grown = len(told.partition(b"\r\n")[2]) - len(body)
        assert told.startswith(b"+OK %d octets\r\n" % (40 + grown))
        session.asked(b"RETR 1\r\n")
        assert session.pieces(MAIN, b"+OK 40 octets\r\n" + body, cut)[0] == told
        session.asked(b"LIST 1\r\n")
        listed = session.server(b"+OK 1 40\r\n")
        assert (listed != b"+OK 1 40\r\n") == annotated


def test_a_long_message_whose_size_is_not_told_comes_whole() -> None:
    lines = b"x" * 70 + b"\r\n"
    body = b"Subject: x\r\n\r\n" + lines * 5000 + b".\r\n"
    with Correspondence(Says(()), protocol="pop3") as session:
        session.sign_in()
        session.asked(b"RETR 1\r\n")
        session.server(b"+OK\r\n1 u1\r\n.\r\n")
        told, _ = session.pieces(MAIN, b"+OK\r\n" + body, 16384)
        begin, _, rest = told.partition(b"\r\n\r\n")
        assert begin == b"+OK\r\nSubject: x"
        assert rest.startswith(b"see\r\n-~")
        assert rest.endswith(b"\r\n\r\n" + lines * 5000 + b".\r\n")
