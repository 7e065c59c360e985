"""BODYSTRUCTURE as servers send it: read as it was meant, changed in nothing but digits.

The odd ones are from reports about the servers named, not made up.
"""

from __future__ import annotations

import time
from binascii import b2a_base64
from contextlib import suppress
from quopri import encodestring
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.errors import PeerError
from portico.wire.bodystructure import MOST_DEPTH, MOST_PARTS, OPAQUE, Envelope, Part, decoded, parse_envelope, parse_structure, rewrite

ONE = b'("TEXT" "PLAIN" ("CHARSET" "utf-8" "format" "flowed") "<i@x>" "=?utf-8?q?=C3=A4?=" "QUOTED-PRINTABLE" 3028 92 "Q2hlY2sgSW50ZWdyaXR5IQ==" ("INLINE" ("FILENAME" "a.txt")) ("en" "de") "loc")'
# RFC 9051 7.5.2, with a nested multipart and a message.
NESTED = (
    b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 10 1 NIL NIL NIL NIL)'
    b'(("text" "html" ("charset" {5}\r\nutf-8) NIL NIL "8bit" 20 2)("image" "png" NIL "<i>" NIL "base64" 30) "related" ("boundary" "(b\\"") NIL NIL)'
    b'("message" "rfc822" NIL NIL NIL "7bit" 400 ("d" "s" NIL NIL NIL NIL NIL NIL NIL NIL) (("text" "plain" NIL NIL NIL "7bit" 40 4)("text" "html" NIL NIL NIL "7bit" 50 5) "alternative") 60 NIL ("attachment" NIL) NIL)'
    b'("message" "rfc822" NIL NIL NIL "7bit" 70 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" NIL NIL NIL "7bit" 7 1) 6)'
    b' "mixed" ("boundary" "x") NIL NIL NIL)'
)


def test_a_single_part_has_all_its_values() -> None:
    assert parse_structure(ONE) == Part(
        "1", "text/plain", {"charset": "utf-8", "format": "flowed"}, "quoted-printable", 3028, 92, "Q2hlY2sgSW50ZWdyaXR5IQ==", "inline",
        {"filename": "a.txt"}, "<i@x>", "ä",
    )  # fmt: skip


def test_parts_are_numbered_as_fetch_names_them() -> None:
    root = parse_structure(NESTED)
    assert [(part.number, part.type, part.octets, part.lines) for part in root.walk()] == [
        ("", "multipart/mixed", -1, -1),
        ("1", "text/plain", 10, 1),
        ("2", "multipart/related", -1, -1),
        ("2.1", "text/html", 20, 2),
        ("2.2", "image/png", 30, -1),
        ("3", "message/rfc822", 400, 60),
        ("4", "message/rfc822", 70, 6),
    ]
    assert root.parts[1].parameters == {"boundary": '(b"'} and root.parts[1].parts[0].parameters == {"charset": "utf-8"}
    inner = root.parts[2].message
    assert inner is not None and [part.number for part in inner.walk()] == ["3.TEXT", "3.1", "3.2"]
    assert root.parts[2].disposition == "attachment"
    alone = root.parts[3].message
    assert alone is not None and (alone.number, alone.octets) == ("4.1", 7)


def test_places_are_where_the_digits_stand() -> None:
    places = parse_structure(ONE).places
    assert [ONE[span[0] : span[1]] for span in places if span is not None] == [b"3028", b"92", b"Q2hlY2sgSW50ZWdyaXR5IQ=="]


def test_only_the_digits_change() -> None:
    assert rewrite(NESTED, {"2.1": (980, 9)}) == NESTED.replace(b'"8bit" 20 2)', b'"8bit" 1000 11)')
    assert rewrite(ONE, {"1": (100, 10)}) == ONE.replace(b" 3028 92 ", b" 3128 102 ")
    assert rewrite(NESTED, {"1": (1, 1), "2.1": (1, 1)}) == NESTED.replace(b'"7bit" 10 1 N', b'"7bit" 11 2 N').replace(b" 20 2)", b" 21 3)")
    assert rewrite(NESTED, {}) == NESTED


@pytest.mark.parametrize("number", ["", "2", "5", "3.1", "3.TEXT", "4.1", "1.1"])
def test_what_has_no_size_or_is_in_a_message_cannot_be_rewritten(number: str) -> None:
    with pytest.raises(PeerError):
        rewrite(NESTED, {number: (1, 1)})


def odd(raw: bytes) -> dict[str, Any]:
    part = parse_structure(raw)
    return {name: value for name in ("type", "octets", "lines", "md5", "disposition", "encoding") if (value := getattr(part, name))}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # Numbers as quoted strings.
        (b'("TEXT" "PLAIN" NIL NIL NIL "7BIT" "12" "3")', {"type": "text/plain", "octets": 12, "lines": 3, "encoding": "7bit"}),
        # Courier: no location, and lines that are NIL.
        (b'("text" "plain" () NIL NIL "8bit" 12 NIL NIL NIL NIL)', {"type": "text/plain", "octets": 12, "lines": -1, "encoding": "8bit"}),
        (b'("text" "plain" NIL NIL NIL "8bit" 12 NIL "bWQ1" NIL)', {"type": "text/plain", "octets": 12, "lines": -1, "md5": "bWQ1", "encoding": "8bit"}),
        # No lines at all: what follows moves up.
        (b'("text" "html" NIL NIL NIL NIL 12 NIL ("inline" NIL))', {"type": "text/html", "octets": 12, "lines": -1, "disposition": "inline", "encoding": "7bit"}),
        # Lines where there should be none (Exchange, hMailServer).
        (b'("application" "pdf" NIL NIL NIL "base64" 12 1 NIL ("attachment" ("filename" "x")))', {"type": "application/pdf", "octets": 12, "lines": 1, "disposition": "attachment", "encoding": "base64"}),
        # A disposition that is no list.
        (b'("text" "plain" NIL NIL NIL "7bit" 12 1 NIL "ATTACHMENT" NIL)', {"type": "text/plain", "octets": 12, "lines": 1, "disposition": "attachment", "encoding": "7bit"}),
        (b'("text" "plain" NIL NIL NIL "7bit" 12 1 ("attachment" NIL))', {"type": "text/plain", "octets": 12, "lines": 1, "disposition": "attachment", "encoding": "7bit"}),
        # Exchange: a message/rfc822 without what is in it; it is the size that clients need.
        (b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 3028 NIL ("INLINE" NIL) NIL)', {"type": "message/rfc822", "octets": 3028, "lines": -1, "disposition": "inline", "encoding": "7bit"}),
        (b'("MESSAGE" "RFC822" ("NAME" "x.eml") NIL NIL "7BIT" 3028 25 NIL ("attachment" ("filename" "x")) NIL)', {"type": "message/rfc822", "octets": 3028, "lines": 25, "disposition": "attachment", "encoding": "7bit"}),
        # An envelope that is NIL.
        (b'("MESSAGE" "GLOBAL" NIL NIL NIL "8BIT" 30 NIL ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 2 1) 5)', {"type": "message/global", "octets": 30, "lines": 5, "encoding": "8bit"}),
        # Exchange and others for what they could not read.
        (b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)", {"type": OPAQUE, "octets": -1, "lines": -1, "encoding": "7bit"}),
        (b'(NIL NIL NIL NIL NIL "7BIT" 0 NIL NIL NIL NIL)', {"type": OPAQUE, "lines": -1, "encoding": "7bit"}),
        (b'("TEXT" NIL NIL NIL NIL "7BIT" 10 1)', {"type": OPAQUE, "octets": 10, "lines": 1, "encoding": "7bit"}),
        (b'(NIL "mixed" ("boundary" "x"))', {"type": OPAQUE, "octets": -1, "lines": -1, "encoding": "7bit"}),
        (b"()", {"type": OPAQUE, "octets": -1, "lines": -1, "encoding": "7bit"}),
        # A count in a literal could not grow without its own.
        (b'("text" "plain" NIL NIL NIL "7bit" {2}\r\n12 1)', {"type": "text/plain", "octets": -1, "lines": 1, "encoding": "7bit"}),
        # A multipart without a subtype, or without any parts that mean something.
        (b'(("text" "plain" NIL NIL NIL "7bit" 12 1))', {"type": "multipart/mixed", "octets": -1, "lines": -1}),
        (b'(() "mixed" NIL ("attachment" NIL))', {"type": "multipart/mixed", "octets": -1, "lines": -1, "disposition": "attachment"}),
        # Parameters: an odd number, no value, lists in them.
        (b'("text" "plain" ("charset" NIL "x" ("y") "z") NIL NIL "7bit" 12 1)', {"type": "text/plain", "octets": 12, "lines": 1, "encoding": "7bit"}),
        # Spaces, or none.
        (b'( "text"  "plain"NIL NIL NIL"7bit" 12  1 )', {"type": "text/plain", "octets": 12, "lines": 1, "encoding": "7bit"}),
    ],
)  # fmt: skip
def test_odd_structures_are_read_as_they_were_meant(raw: bytes, expected: dict[str, Any]) -> None:
    assert odd(raw) == expected


def test_a_text_without_a_count_of_lines_grows_in_octets_only() -> None:
    assert rewrite(b'("text" "plain" NIL NIL NIL "7bit" "99" NIL)', {"1": (1, 5)}) == b'("text" "plain" NIL NIL NIL "7bit" "100" NIL)'


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"NIL", b'"x"', b"(", b")", b"())", b"() ()", b'("text', b'("a" {5}\r\nab)', b"(\r", b'("text" "plain" "', b"x ()",
        b"(" * 101 + b")" * 101, b"(" + b"()" * MOST_PARTS + b"\"mixed\")", b"(" + b"a " * 200_000 + b")", b'("' + b"a" * 1_100_000 + b'")',
    ],
)  # fmt: skip
def test_what_is_no_structure_is_refused(raw: bytes) -> None:
    with pytest.raises(PeerError):
        parse_structure(raw)


def test_the_deepest_structure_is_read() -> None:
    text = b'("text" "plain" NIL NIL NIL "7bit" 1 1)'
    deepest = b"(" * (MOST_DEPTH - 1) + text + b' "mixed")' * (MOST_DEPTH - 1)
    leaf = list(parse_structure(deepest).walk())[-1]
    assert (leaf.number, leaf.octets) == (".".join("1" * (MOST_DEPTH - 1)), 1)


STRINGS = st.sampled_from(
    [b"NIL", b'"text"', b'"plain"', b'"message"', b'"rfc822"', b"12", b'"7"', b"{2}\r\n)(", b'"a\\"b"', b"()", b'("attachment" NIL)']
)
VALUES = st.recursive(STRINGS, lambda inner: st.lists(inner, max_size=9).map(lambda each: b"(" + b" ".join(each) + b")"), max_leaves=40)


@given(st.binary(max_size=100) | st.text('()"{}\\ \r\nNIL123a', max_size=80).map(str.encode) | VALUES)
def test_any_octets_give_a_structure_or_a_peer_error(raw: bytes) -> None:
    assert isinstance(parse_envelope(raw), Envelope)
    try:
        root = parse_structure(raw)
    except PeerError:
        return
    growth = {part.number: (1000, 1000) for part in root.walk() if part.places.octets}
    changed = rewrite(raw, growth)
    again = {part.number: part for part in parse_structure(changed).walk()}
    for part in root.walk():
        grown = again[part.number]
        assert grown.octets == part.octets + (1000 if part.number in growth else 0)
        assert grown.lines == part.lines + (1000 if part.number in growth and part.places.lines else 0)
    assert strip(changed) == strip(raw)


def strip(raw: bytes) -> bytes:
    return bytes(octet for octet in raw if octet not in b"0123456789")


@pytest.mark.parametrize(
    "unit",
    [b"(", b"()", b'"\\', b'"', b"{0", b"{1}\r\na", b"a ", b"\r\n", b'("" ""', b"(()", b'(("message" "rfc822" NIL NIL NIL NIL 1 NIL '],
)
def test_time_is_bounded(unit: bytes) -> None:
    raw = b"(" + unit * (1_000_000 // len(unit)) + b")"
    start = time.process_time()
    with suppress(PeerError):
        parse_structure(raw)
    assert time.process_time() - start < 2.0


def test_an_envelope_is_told_in_unicode() -> None:
    raw = (
        b'("Mon, 4 May 2026 09:00:00 +0200" "=?utf-8?Q?Gr=C3=BC=C3=9Fe?= \\"x\\"" (("=?iso-8859-1?q?J=F6rg?=" NIL "joerg" "example.org")("B" NIL "b" "c"))'
        b' NIL NIL NIL NIL NIL "<r@x>" {5}\r\n<m@x>)'
    )
    assert parse_envelope(raw) == Envelope('Grüße "x"', "<m@x>", "Mon, 4 May 2026 09:00:00 +0200", "Jörg <joerg@example.org>", "<r@x>")


@pytest.mark.parametrize(
    ("sender", "text"),
    [(b"NIL", ""), (b"()", ""), (b"((NIL NIL NIL NIL))", ""), (b'((NIL NIL "a" "b"))', "a@b"), (b'(("A" NIL "a" NIL))', "A <a>"), (b'(("A" NIL NIL NIL))', "A"), (b'"a@b"', "")],
)  # fmt: skip
def test_a_sender_is_told_as_far_as_known(sender: bytes, text: str) -> None:
    assert parse_envelope(b"(NIL NIL " + sender + b" NIL NIL NIL NIL NIL NIL NIL)") == Envelope(sender=text)


@pytest.mark.parametrize("raw", [None, b"", b"NIL", b"(", b"()", b"(NIL)", b"((((((((((()))))))))))"])
def test_an_envelope_that_makes_no_sense_is_empty(raw: bytes | None) -> None:
    assert parse_envelope(raw) == Envelope()


@given(st.binary(max_size=400))
def test_encoded_octets_are_decoded(octets: bytes) -> None:
    assert (
        decoded(b2a_base64(octets[:57]) + b2a_base64(octets[57:114]) + b2a_base64(octets[114:]), "base64")
        == octets[:57] + octets[57:114] + octets[114:]
    )
    assert decoded(encodestring(octets), "quoted-printable") == octets
    assert decoded(octets, "8bit") == octets


@pytest.mark.parametrize(
    ("raw", "encoding", "octets"),
    [
        (b"=E4 =\r\nb=XX=\nc  \r\nd=3", "quoted-printable", b"\xe4 b=XXc\r\nd=3"),
        (b"a=  \r\nb", "quoted-printable", b"ab"),
        (b"YW*J\r\nj", "base64", b"abc"),
        (b"YWJ", "base64", b"ab"),
        (b"YWJjZ", "base64", b"abc"),
        (b"Y", "base64", b""),
        (b"=", "base64", b""),
        (b"x", "x-uuencode", b"x"),
    ],
)
def test_damaged_octets_are_decoded_as_far_as_they_go(raw: bytes, encoding: str, octets: bytes) -> None:
    assert decoded(raw, encoding) == octets


@given(st.binary(max_size=200) | st.text("=A \t\r\n", max_size=80).map(str.encode))
def test_any_octets_are_decoded(octets: bytes) -> None:
    for encoding in ("base64", "quoted-printable", "7bit", ""):
        assert len(decoded(octets, encoding)) <= len(octets)


@pytest.mark.parametrize("unit", [b" ", b"= ", b"=", b"=\r\n", b"\t\r"])
def test_decoding_takes_time_by_length(unit: bytes) -> None:
    start = time.process_time()
    decoded(unit * 200_000, "quoted-printable")
    decoded(unit * 200_000, "base64")
    assert time.process_time() - start < 2.0
