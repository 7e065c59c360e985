"""FETCH responses of an annotated message, as its reader gets them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.session.annotations.annotation import Annotation, Located, Piece
from portico.session.annotations.splice import Range
from portico.session.imap.rewrite import FetchRewriter, rewrite_whole

LIMIT = 1 << 16
# A message of 100 octets: header of 20, part 1.1 from 40 to 60 (plain text), part 1.2 from 70 to 90 (base64).
MADE = Annotation(
    100,
    (Piece("1.1", b"see\r\n", 1, b"see\r\n", "start"), Piece("1.2", b"PGI+\r\n", 1, b"<b>", "start")),
    Located(20, {"1": 25, "1.1": 40, "1.2": 70}, {"1.1": 0, "1.2": 0}, {"1.1": 0, "1.2": 0}),
)
MESSAGE = bytes(range(65, 91)) * 3 + bytes(range(65, 87))
WHOLE = MESSAGE[:40] + b"see\r\n" + MESSAGE[40:70] + b"PGI+\r\n" + MESSAGE[70:]


def rewritten(raw: bytes, annotation: Annotation | None = MADE, **ranges: tuple[int, int]) -> bytes:
    rewriter = FetchRewriter(annotation, {("BODY", name): Range(*asked) for name, asked in ranges.items()}, LIMIT)
    out = rewrite_whole(rewriter, raw)
    assert rewriter.done
    assert rewriter.trouble == ""
    return out


@pytest.mark.parametrize(
    ("server", "client"),
    [
        (b"* 5 FETCH (UID 7 RFC822.SIZE 100 FLAGS (\\Seen))\r\n", b"* 5 FETCH (UID 7 RFC822.SIZE 111 FLAGS (\\Seen))\r\n"),
        (b'* 5 FETCH (BODY[]<3> "x" UID 7)\r\n', b'* 5 FETCH (BODY[]<3> "x" UID 7)\r\n'),
        (b"* 5 FETCH (BODY[] {100}\r\n" + MESSAGE + b" UID 7)\r\n", b"* 5 FETCH (BODY[] {111}\r\n" + WHOLE + b" UID 7)\r\n"),
        (b"* 5 FETCH (RFC822 {100}\r\n" + MESSAGE + b")\r\n", b"* 5 FETCH (RFC822 {111}\r\n" + WHOLE + b")\r\n"),
        (b"* 5 FETCH (BODY[TEXT] {80}\r\n" + MESSAGE[20:] + b")\r\n", b"* 5 FETCH (BODY[TEXT] {91}\r\n" + WHOLE[20:] + b")\r\n"),
        (b"* 5 FETCH (BODY[1.1] {20}\r\n" + MESSAGE[40:60] + b")\r\n", b"* 5 FETCH (BODY[1.1] {25}\r\nsee\r\n" + MESSAGE[40:60] + b")\r\n"),
        (b"* 5 FETCH (BINARY[1.2] ~{4}\r\nabcd)\r\n", b"* 5 FETCH (BINARY[1.2] ~{7}\r\n<b>abcd)\r\n"),
        (b"* 5 FETCH (BINARY.SIZE[1.2] 4 BINARY.SIZE[2] 9)\r\n", b"* 5 FETCH (BINARY.SIZE[1.2] 7 BINARY.SIZE[2] 9)\r\n"),
        (b"* 5 FETCH (BODY[HEADER] {20}\r\n" + MESSAGE[:20] + b")\r\n", b"* 5 FETCH (BODY[HEADER] {20}\r\n" + MESSAGE[:20] + b")\r\n"),
        (b"* 5 FETCH (BODY[1.1.MIME] {2}\r\nab)\r\n", b"* 5 FETCH (BODY[1.1.MIME] {2}\r\nab)\r\n"),
        (b'* 5 FETCH (BODY[2] {2}\r\nab BODY[1.1] "x")\r\n', b"* 5 FETCH (BODY[2] {2}\r\nab BODY[1.1] {6}\r\nsee\r\nx)\r\n"),
        (b"* 5 FETCH (BODY[1.1] NIL)\r\n", b"* 5 FETCH (BODY[1.1] NIL)\r\n"),
        (b"* 5 FETCH (BODY[1.1] {0}\r\n UID 7)\r\n", b"* 5 FETCH (BODY[1.1] {5}\r\nsee\r\n UID 7)\r\n"),
        (
            b'* 5 FETCH (BODYSTRUCTURE ((("text" "plain" NIL NIL NIL "7bit" 20 3)("text" "html" NIL NIL {4}\r\nx{9} "base64" 20 1)'
            b' "alternative")("text" "calendar" NIL NIL NIL "7bit" 9 1) "mixed") UID 7)\r\n',
            b'* 5 FETCH (BODYSTRUCTURE ((("text" "plain" NIL NIL NIL "7bit" 25 4)("text" "html" NIL NIL {4}\r\nx{9} "base64" 26 2)'
            b' "alternative")("text" "calendar" NIL NIL NIL "7bit" 9 1) "mixed") UID 7)\r\n',
        ),
    ],
)
def test_an_annotated_message_is_the_same_in_every_item(server: bytes, client: bytes) -> None:
    assert rewritten(server) == client


@given(st.integers(0, 120), st.integers(1, 120))
def test_a_range_is_that_of_the_annotated_message(start: int, length: int) -> None:
    asked = max(0, start - MADE.octets)
    literal = MESSAGE[asked : start + length]
    server = b"* 5 FETCH (UID 7 BODY[]<%d> {%d}\r\n%b)\r\n" % (asked, len(literal), literal)
    wanted = WHOLE[start : start + length]
    out = rewritten(server, **{"": (start, length)})
    assert out == b"* 5 FETCH (UID 7 BODY[]<%d> {%d}\r\n%b)\r\n" % (start, len(wanted), wanted)


def test_of_a_message_without_annotation_only_the_range_is_cut() -> None:
    server = b"* 6 FETCH (RFC822.SIZE 100 BODY[]<0> {15}\r\n" + MESSAGE[:15] + b")\r\n"
    assert rewritten(server, None, **{"": (10, 5)}) == b"* 6 FETCH (RFC822.SIZE 100 BODY[]<10> {5}\r\n" + MESSAGE[10:15] + b")\r\n"
    empty = b'* 6 FETCH (BODY[]<200> "" UID 3)\r\n'
    assert rewritten(empty, None, **{"": (211, 5)}) == b"* 6 FETCH (BODY[]<211> {0}\r\n UID 3)\r\n"


@pytest.mark.parametrize(
    ("server", "trouble"),
    [
        (b"* 5 FETCH (BODY[] {99}\r\n" + MESSAGE[:99] + b")\r\n", "99 octets in place of 100"),
        (b"* 5 FETCH (RFC822.SIZE 90)\r\n", "RFC822.SIZE 90 in place of 100"),
        (b"* 5 FETCH (BODYSTRUCTURE (((((() UID)\r\n", "not understood"),
    ],
)
def test_what_contradicts_the_annotation_is_told_and_stays_well_formed(server: bytes, trouble: str) -> None:
    rewriter = FetchRewriter(MADE, {}, LIMIT)
    out = rewrite_whole(rewriter, server)
    assert rewriter.trouble == trouble
    assert rewriter.done
    assert out.endswith(b")\r\n")


@given(st.binary(max_size=60), st.booleans())
def test_any_octets_come_out_without_an_exception(data: bytes, annotated: bool) -> None:
    for head in (b"* 5 FETCH (", b"* 5 FETCH (BODY[] {10}\r\n", b"* 5 FETCH (BODYSTRUCTURE ("):
        rewriter = FetchRewriter(MADE if annotated else None, {("BODY", ""): Range(3, 5)}, LIMIT)
        rewrite_whole(rewriter, head + data + b")\r\n")
