"""Mailbox names, and the responses that list them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.errors import PeerError
from portico.wire.mailbox import Listed, astring, decode, encode, parse_listed, spans, written


def test_modified_utf7_as_the_rfc_has_it() -> None:
    """RFC 9051 A.1, with its own example."""
    assert encode("~peter/mail/台北/日本語") == b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"
    assert decode(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-") == "~peter/mail/台北/日本語"
    assert encode("Q & A") == b"Q &- A"
    assert encode("Größe", utf8=True) == "Größe".encode()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_name_encoded_is_the_name_decoded(name: str) -> None:
    assert decode(encode(name)) == name
    assert decode(encode(name, utf8=True), utf8=True) == name


@given(st.binary(max_size=40))
def test_any_octets_are_decoded_to_something(name: bytes) -> None:
    assert isinstance(decode(name), str)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'* LIST (\\HasNoChildren) "/" INBOX\r\n', Listed("LIST", (b"\\HasNoChildren",), b"/", b"INBOX", b"")),
        (b'* LIST () "." {3}\r\na"b\r\n', Listed("LIST", (), b".", b'a"b', b"")),
        (b'* lsub (\\Noselect) "\\\\" "a\\\\b"\r\n', Listed("LSUB", (b"\\Noselect",), b"\\", b"a\\b", b"")),
        (b"* LIST () NIL nil\r\n", Listed("LIST", (), b"", b"nil", b"")),
        (
            b'* LIST (\\Subscribed) "/" "x y" (CHILDINFO (SUBSCRIBED))\r\n',
            Listed("LIST", (b"\\Subscribed",), b"/", b"x y", b" (CHILDINFO (SUBSCRIBED))"),
        ),
    ],
)
def test_a_list_response_is_understood(raw: bytes, expected: Listed) -> None:
    assert parse_listed(raw) == expected
    assert parse_listed(expected.response()) == expected


@given(st.binary(max_size=60))
def test_any_octets_are_a_list_response_or_none(raw: bytes) -> None:
    assert parse_listed(b"* LIST " + raw) is None or isinstance(parse_listed(b"* LIST " + raw), Listed)


def test_arguments_and_where_they_stand() -> None:
    raw = b'1:5 "Public Folders" (a (b)) {3}\r\nabc x'
    assert [raw[start:end] for start, end in spans(raw)] == [b"1:5", b'"Public Folders"', b"(a (b))", b"{3}\r\nabc", b"x"]
    with pytest.raises(PeerError):
        spans(b'a "b')


def test_strings_are_quoted_or_literals() -> None:
    assert astring(b"a b") == b'"a b"'
    assert astring("ö".encode()) == b"{2}\r\n\xc3\xb6"
    assert written([b"SUBSCRIBED", [b"a b", None]]) == b'(SUBSCRIBED ("a b" NIL))'
