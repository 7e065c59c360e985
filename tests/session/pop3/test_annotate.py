"""Bodies over POP3: dots, pieces, tops."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from portico.session.annotations.annotation import Annotation, Located, Piece
from portico.session.pop3.annotate import Annotated, Stuffed, Unstuffed

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
