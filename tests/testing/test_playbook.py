"""A playbook says who says what, and what becomes of it."""

from __future__ import annotations

import pytest
from portico.testing.playbook import letters


def test_lines_of_the_same_speaker_are_one_letter_and_an_empty_line_ends_it() -> None:
    found = letters("""
    # a comment
    C: a1 LIST "" {1+}
    C: *
    S: * LIST () "/" x
    S:

    S: a1 OK
    """)
    assert [(letter.speaker, letter.octets) for letter in found] == [
        ("C", b'a1 LIST "" {1+}\r\n*\r\n'),
        ("S", b'* LIST () "/" x\r\n\r\n'),
        ("S", b"a1 OK\r\n"),
    ]


def test_what_is_not_said_to_be_changed_reaches_the_other_side_as_it_was() -> None:
    client, server = letters("C: a\nS: b")
    assert (client.to_server, client.to_client) == (b"a\r\n", b"")
    assert (server.to_server, server.to_client) == (b"", b"b\r\n")


def test_what_becomes_of_a_letter_stands_behind_it() -> None:
    refused, dropped, both = letters("""
    C: a1 X
    to C: a1 NO
    S: * 1 EXISTS
    to nobody
    C: a2 Y
    to S: a2 Z
    to C: * OK
    """)
    assert (refused.to_client, refused.to_server) == (b"a1 NO\r\n", b"")
    assert (dropped.to_client, dropped.to_server) == (b"", b"")
    assert (both.to_client, both.to_server) == (b"* OK\r\n", b"a2 Z\r\n")


@pytest.mark.parametrize(
    ("playbook", "complaint"),
    [
        ("C: a\nX: b", "line 2 of the playbook begins with none of"),
        ("to C: b", "line 1 of the playbook: nobody has said anything yet"),
        ("to nobody else", "line 1 of the playbook begins with none of"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(playbook: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        letters(playbook)


def test_octets_beyond_ascii_are_utf8() -> None:
    assert letters("C: ä")[0].octets == b"\xc3\xa4\r\n"
