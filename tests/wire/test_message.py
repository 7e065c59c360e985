"""A message that is held whole: all that is told of it is of the same octets."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.errors import PeerError
from portico.wire.bodystructure import Part, parse_structure
from portico.wire.imap import parse_arguments
from portico.wire.message import Message, parse_section, trouble_with

FORWARDED = b"""\
From: Alice <alice@example.org>\r
To: bob@example.org\r
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r
\tand more\r
Message-ID: <1@example.org>\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="--x"\r
\r
preamble\r
----x\r
\r
text\r
----x\r
Content-Type: message/rfc822\r
Content-Disposition: attachment; filename="a b.eml"\r
Content-Language: de, en\r
\r
Subject: inner\r
Content-Type: multipart/alternative; boundary=y\r
\r
--y\r
Content-Transfer-Encoding: base64\r
\r
Z3LDvMOfZQ==\r
--y\r
Content-Type: text/html; charset=utf-8\r
Content-Transfer-Encoding: x-strange\r
\r
<p>\r
--y--\r
----x--\r
epilogue\r
"""


def section(text: str, message: bytes = FORWARDED) -> bytes:
    return Message(message).section(parse_section(text))


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("", FORWARDED),
        ("TEXT", FORWARDED[FORWARDED.index(b"preamble") :]),
        ("HEADER", FORWARDED[: FORWARDED.index(b"preamble")]),
        ("HEADER.FIELDS (TO X-NOBODY SUBJECT)", b"To: bob@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\tand more\r\n\r\n"),
        ("HEADER.FIELDS.NOT (FROM TO SUBJECT MESSAGE-ID CONTENT-TYPE)", b"MIME-Version: 1.0\r\n\r\n"),
        ("1", b"text"),
        ("1.MIME", b"\r\n"),
        ("2.MIME", FORWARDED[FORWARDED.index(b"Content-Type: message") : FORWARDED.index(b"Subject: inner")]),
        ("2", FORWARDED[FORWARDED.index(b"Subject: inner") : FORWARDED.index(b"----x--")]),
        ("2.HEADER", b"Subject: inner\r\nContent-Type: multipart/alternative; boundary=y\r\n\r\n"),
        ("2.HEADER.FIELDS (SUBJECT)", b"Subject: inner\r\n\r\n"),
        ("2.1", b"Z3LDvMOfZQ=="),
        ("2.2.MIME", b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: x-strange\r\n\r\n"),
        ("3", b""),
        ("1.HEADER", b""),
        ("2.1.1", b""),
    ],
)
def test_each_section_is_a_stretch_of_the_message(asked: str, given: bytes) -> None:
    assert section(asked) == given


def test_the_structure_is_that_of_the_message_and_of_the_one_in_it() -> None:
    assert Message(FORWARDED).structure(extended=True) == (
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 0 NIL NIL NIL NIL)'
        b'("message" "rfc822" NIL NIL NIL "7bit" 220 '
        b'(NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL) '
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "base64" 12 0 NIL NIL NIL NIL)'
        b'("text" "html" ("charset" "utf-8") NIL NIL "x-strange" 3 0 NIL NIL NIL NIL) '
        b'"alternative" ("boundary" "y") NIL NIL NIL) 13 NIL ("attachment" ("filename" "a b.eml")) ("de" "en") NIL) '
        b'"mixed" ("boundary" "--x") NIL NIL NIL)'
    )
    shorter = Message(FORWARDED).structure(extended=False)
    assert b"attachment" not in shorter
    assert shorter.endswith(b'"x-strange" 3 0) "alternative") 13) "mixed")')


def test_the_envelope_has_what_the_header_says_unfolded() -> None:
    alice = b'(("Alice" NIL "alice" "example.org"))'
    assert Message(FORWARDED).envelope() == (
        b'(NIL "=?utf-8?q?Gr=C3=BC=C3=9Fe?= and more" %b %b %b ((NIL NIL "bob" "example.org")) NIL NIL NIL "<1@example.org>")'
        % (alice, alice, alice)
    )


def test_what_cannot_stand_in_quotes_is_a_literal() -> None:
    message = Message("Subject: Grüße\r\n\r\n".encode())
    assert parse_arguments(message.envelope())[0] == [None, "Grüße".encode(), *[None] * 8]
    assert b"{7}\r\n" in message.envelope()


def test_a_part_is_decoded_unless_its_encoding_is_unknown() -> None:
    message = Message(FORWARDED)
    assert message.binary("2.1") == "grüße".encode()
    assert message.binary("1") == b"text"
    assert message.binary("2") == section("2")
    assert message.binary("9") == b""
    with pytest.raises(PeerError) as caught:
        message.binary("2.2")
    assert caught.value.code == "UNKNOWN-CTE"


@pytest.mark.parametrize(
    "text",
    [
        "FOO",
        "0",
        "01",
        "1.",
        ".1",
        "MIME",
        "1.FOO",
        "HEADER.FIELDS",
        "HEADER.FIELDS ()",
        "HEADER.FIELDS (A",
        "TEXT.1",
        "1 ",
        "-1",
        "HEADER.FIELDS (A) (B)",
    ],
)
def test_a_section_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(PeerError):
        parse_section(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", b""),
        ("1.2.MIME", b"1.2.MIME"),
        ('2.HEADER.FIELDS.NOT (TO "X Y" {3}\r\nABC)', b'2.HEADER.FIELDS.NOT (TO "X Y" ABC)'),
    ],
)
def test_a_section_is_written_again_as_it_was_meant(text: str, written: bytes) -> None:
    assert parse_section(text).written == written


@pytest.mark.parametrize(
    ("message", "trouble"),
    [
        (b"Subject: x\r\n\r\n", ""),
        (b"Subject: x\r\n\r\ntext\r\n", ""),
        (b"Subject: x\r\n\r\ntext", "no line end behind the last line"),
        (b"Subject: x\r\n\r\ntext\n", "a bare CR or LF, or NUL"),
        (b"Subject: x\r\n\r\nte\rxt\r\n", "a bare CR or LF, or NUL"),
        (b"Subject: x\r\n\r\nte\0xt\r\n", "a bare CR or LF, or NUL"),
        (b"Subject: x\r\ntext\r\n", "no header, or no empty line behind it"),
        (b"\r\ntext\r\n", "no header, or no empty line behind it"),
        (b"text\r\n\r\n", "no header, or no empty line behind it"),
        (b"", "no line end behind the last line"),
        (b"A: b\r\n" * 60_000 + b"\r\n", "Header too large"),
    ],
)
def test_what_is_no_message_is_told_so(message: bytes, trouble: str) -> None:
    assert trouble_with(message) == trouble


LEAF = st.builds(
    lambda fields, lines: b"".join(fields) + b"\r\n" + b"\r\n".join(lines),
    st.lists(
        st.sampled_from([b"Content-Type: text/html\r\n", b"Content-ID: <a>\r\n", b"Content-Transfer-Encoding: base64\r\n"]), unique=True
    ),
    st.lists(st.sampled_from([b"", b"text", b"-- ", b"--", b"--b", "ü".encode()])),
)


@st.composite
def entities(draw: st.DrawFn, depth: int = 0) -> bytes:
    kind = draw(st.sampled_from(["leaf", "multipart", "message"])) if depth < 3 else "leaf"
    if kind == "leaf":
        return draw(LEAF)
    if kind == "message":
        return b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\n" + draw(entities(depth + 1))
    boundary = b"b%d" % depth
    parts = draw(st.lists(entities(depth + 1), max_size=3))
    inner = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
    return b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n%b--%b--" % (boundary, inner, boundary)


def walked(part: Part) -> Iterator[Part]:
    yield part
    for each in [*part.parts, *([part.message] if part.message is not None else [])]:
        yield from walked(each)


@given(entities())
def test_sizes_in_the_structure_are_those_of_the_sections(entity: bytes) -> None:
    octets = b"Subject: x\r\n" + entity + b"\r\n"
    if trouble_with(octets):
        return
    message = Message(octets)
    assert message.section(parse_section("HEADER")) + message.section(parse_section("TEXT")) == octets
    for extended in (True, False):
        for part in walked(parse_structure(message.structure(extended=extended))):
            if part.parts:
                continue
            body = message.section(parse_section(part.number))
            assert body in octets
            assert part.octets == len(body)
            if part.type.startswith(("text/", "message/")):
                assert part.lines == body.count(b"\n")
            if part.message is not None:
                header, text = (message.section(parse_section(f"{part.number}.{what}")) for what in ("HEADER", "TEXT"))
                assert header + text == body


def test_another_reader_of_mime_sees_the_same_parts() -> None:
    seen = [part.get_content_type() for part in message_from_bytes(FORWARDED).walk() if not part.is_multipart()]
    found = [part.type for part in walked(parse_structure(Message(FORWARDED).structure(extended=True))) if not part.parts]
    assert [kind for kind in found if kind != "message/rfc822"] == seen
