"""FETCH commands are understood, and changed only where they are meant to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.errors import PeerError
from portico.wire.fetch import chosen, parse_fetch_command, ranges_of


@pytest.mark.parametrize(
    ("arguments", "items"),
    [
        (b"1 FLAGS", [("FLAGS", None, -1)]),
        (b"1:* (UID RFC822.SIZE)", [("UID", None, -1), ("RFC822.SIZE", None, -1)]),
        (b"5 BODY.PEEK[]<65536.65536>", [("BODY.PEEK", "", 65536)]),
        (b"5 (body[1.mime] BINARY.SIZE[2])", [("BODY", "1.MIME", -1), ("BINARY.SIZE", "2", -1)]),
        (b'5 BODY[HEADER.FIELDS (To "a]b" {3}\r\nx]y Cc)]', [("BODY", 'HEADER.FIELDS (TO "A]B" {3}\r\nX]Y CC)', -1)]),
        (b"5 (FLAGS) (CHANGEDSINCE 12 VANISHED)", [("FLAGS", None, -1)]),
        (b"$ FULL", [("FULL", None, -1)]),
    ],
)
def test_items_are_named_with_their_sections(arguments: bytes, items: list[tuple[str, str | None, int]]) -> None:
    assert [(item.name, item.section, item.start) for item in parse_fetch_command(arguments).items] == items


def test_macros_are_spelled_out() -> None:
    assert parse_fetch_command(b"1 FULL").names == {"FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"}


def test_a_range_is_changed_and_nothing_else() -> None:
    command = parse_fetch_command(b"7 (UID  BODY.PEEK[TEXT]<10.20> FLAGS BODY[1]<0.5>) (CHANGEDSINCE 1)")
    assert command.with_ranges([None, (5, 40), None, None]) == b"7 (UID  BODY.PEEK[TEXT]<5.40> FLAGS BODY[1]<0.5>) (CHANGEDSINCE 1)"
    assert command.with_ranges([None] * 4) == command.raw


@pytest.mark.parametrize("arguments", [b"", b"1", b"x FLAGS", b"1 ()", b"1 (FLAGS", b"1 BODY[HEADER", b'1 BODY["', b"1 BODY[{9}"])
def test_what_makes_no_sense_is_said(arguments: bytes) -> None:
    with pytest.raises(PeerError):
        parse_fetch_command(arguments)


@given(st.binary(max_size=80))
def test_any_octets_are_a_command_or_an_error_of_the_peer(arguments: bytes) -> None:
    for prefix in (b"", b"1 (", b"1:3,* BODY["):
        try:
            command = parse_fetch_command(prefix + arguments)
        except PeerError:
            continue
        assert command.with_ranges([None] * len(command.items)) == prefix + arguments


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        (b"1:3,9", [2, 3, 9]),
        (b"*", [12]),
        (b"9:*", [9, 12]),
        (b"*:9", [9, 12]),
        (b"$", [2, 3, 9, 12]),
        (b"5", []),
        (b"2,3,2:3,9:12", [2, 3, 9, 12]),
    ],
)
def test_a_set_names_its_messages(messages: bytes, found: list[int]) -> None:
    assert chosen(messages, [12, 9, 3, 2], 12) == found


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8), st.sets(st.integers(1, 45)))
def test_a_message_is_chosen_if_some_range_has_it(ranges: list[tuple[int, int]], among: set[int]) -> None:
    messages = ",".join(f"{low}:{high}" for low, high in ranges).encode()
    expected = sorted(number for number in among if any(min(pair) <= number <= max(pair) for pair in ranges))
    assert chosen(messages, among, 45) == expected


def test_a_set_of_thirty_thousand_pieces_costs_no_more_than_its_length() -> None:
    messages = b",".join(b"%d" % (2 * number) for number in range(1, 10_000))
    assert chosen(messages, range(1, 20_001), 20_000) == list(range(2, 20_000, 2))


def test_a_number_of_more_digits_than_python_takes_is_none() -> None:
    assert list(ranges_of(b"5:" + b"9" * 5000 + b",7", 10)) == [(0, 5), (7, 7)]
