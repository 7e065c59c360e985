"""The Reader: what is cut, and where, does not depend on how the octets arrive."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.errors import PeerError
from portico.wire.lines import Line, Literal, Reader

COMMANDS = st.sampled_from([
    b"a1 NOOP\r\n",
    b"a2 LOGIN {5}\r\nalice {6+}\r\nsecret\r\n",
    b"a3 APPEND x {12}\r\na4 LOGOUT\r\n\r\n\r\n",
    b"bare LF\n",
    b'a5 LOGIN "a{5}" "b"\r\n',
    b"a6 X {0}\r\n\r\n",
    b"a7 a bare \r is no end\r\n",
    b"a8 APPEND y ~{3}\r\n\x00\r\n\r\n",
])  # fmt: skip


def read(chunks: list[bytes], **how: bool) -> list[tuple[str, bytes]]:
    """What comes out, with the pieces of a literal joined."""
    reader = Reader(1000, 1000, **how)
    out: list[tuple[str, bytes]] = []
    for chunk in chunks:
        reader.feed(chunk)
        while (piece := reader.next()) is not None:
            if isinstance(piece, Line):
                out.append(("line", piece.data))
            elif out and out[-1][0] == "literal":
                out[-1] = ("literal", out[-1][1] + piece.data)
            else:
                out.append(("literal", piece.data))
    return out


@given(st.lists(COMMANDS, max_size=6), st.lists(st.integers(0, 300), max_size=10))
def test_however_the_octets_are_cut_the_lines_and_literals_are_the_same(commands: list[bytes], points: list[int]) -> None:
    data = b"".join(commands)
    edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    cut = read([data[a:b] for a, b in itertools.pairwise(edges) if a < b])
    assert cut == read([data] if data else [])
    assert b"".join(octets for _, octets in cut) == data


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_any_octets_give_pieces_or_a_peer_error_and_nothing_is_lost(chunks: list[bytes]) -> None:
    reader = Reader(100, 100)
    out = b""
    try:
        for chunk in chunks:
            reader.feed(chunk)
            while (piece := reader.next()) is not None:
                out += piece.data
            assert reader.held <= 100
    except PeerError:
        return
    assert out + reader.take_rest() == b"".join(chunks)


def test_a_literal_is_never_read_as_a_command() -> None:
    assert read([b"a1 APPEND x {13}\r\na2 DELETE y\r\n\r\n"]) == [
        ("line", b"a1 APPEND x {13}\r\n"),
        ("literal", b"a2 DELETE y\r\n"),
        ("line", b"\r\n"),
    ]


def test_a_brace_inside_a_quoted_string_announces_nothing() -> None:
    assert read([b'a1 LOGIN "x {5}\r\na2 NOOP\r\n']) == [("line", b'a1 LOGIN "x {5}\r\n'), ("line", b"a2 NOOP\r\n")]


@given(st.text(st.sampled_from('ab"\\\\ {'), max_size=40))
def test_a_quoted_string_is_open_until_its_quote_that_is_not_escaped(text: str) -> None:
    inside = escaped = False
    for character in text:
        if inside and not escaped and character == "\\":
            escaped = True
            continue
        if character == '"' and not escaped:
            inside = not inside
        escaped = False
    reader = Reader(100, 100)
    reader.feed(b"a1 X " + text.encode() + b"{5}\r\n")
    line = reader.next()
    assert isinstance(line, Line)
    assert (line.literal == -1) == inside


def test_free_text_of_a_status_response_announces_nothing() -> None:
    assert read([b"* OK see {5}\r\n* LIST () NIL {1}\r\na\r\n"], responses=True) == [
        ("line", b"* OK see {5}\r\n"),
        ("line", b"* LIST () NIL {1}\r\n"),
        ("literal", b"a"),
        ("line", b"\r\n"),
    ]


def test_what_is_not_asked_for_stays_unread() -> None:
    reader = Reader(100, 100)
    reader.feed(b"a1 STARTTLS\r\na2 LOGIN injected injected\r\n")
    assert isinstance(reader.next(), Line)
    assert reader.take_rest() == b"a2 LOGIN injected injected\r\n"
    assert reader.held == 0


def test_a_huge_literal_is_refused_before_an_octet_of_it_is_read() -> None:
    reader = Reader(100, 1000)
    reader.feed(b"a1 LOGIN {99999999999}\r\n")
    with pytest.raises(PeerError) as caught:
        reader.next()
    assert (caught.value.code, caught.value.fatal) == ("TOOBIG", False)
    reader.refuse_literal()
    reader.feed(b"a2 NOOP\r\n")
    assert reader.next() == Line(b"a2 NOOP\r\n")


def test_a_huge_literal_that_comes_unasked_ends_the_session() -> None:
    reader = Reader(100, 1000)
    reader.feed(b"a1 LOGIN {99999999999+}\r\n")
    with pytest.raises(PeerError) as caught:
        reader.next()
    assert caught.value.fatal


@pytest.mark.parametrize("line", [b"x" * 200 + b"\r\n", b"x" * 200])
def test_a_line_above_the_limit_ends_the_session_with_or_without_its_end(line: bytes) -> None:
    reader = Reader(100, 100)
    reader.feed(line)
    with pytest.raises(PeerError) as caught:
        reader.next()
    assert caught.value.fatal


def test_pieces_of_a_literal_say_how_much_is_left() -> None:
    reader = Reader(100, 100)
    reader.feed(b"a {5}\r\nab")
    assert isinstance(reader.next(), Line)
    assert reader.next() == Literal(b"ab", 3)
    assert reader.next() is None
    reader.feed(b"cde\r\n")
    assert reader.next() == Literal(b"cde", 0)
    assert reader.next() == Line(b"\r\n")
    assert reader.at_line_start
