"""What is found in a server's answers to questions of our own is bounded, whatever the server says."""

from __future__ import annotations

from portico.session.imap.questions import in_pieces, numbers_in, set_of

MOST = 2_000_000


def test_numbers_are_found_in_either_kind_of_answer() -> None:
    answers = [b"* SEARCH 5 7 9\r\n", b'* ESEARCH (TAG "a") UID ALL 11:13,20\r\n', b"* 3 EXISTS\r\n"]
    assert numbers_in(answers, b"SEARCH") == [5, 7, 9, 11, 12, 13, 20]


def test_a_server_that_names_more_than_can_be_is_not_believed_further() -> None:
    lie = b"* ESEARCH ALL " + b",".join([b"1:1000001"] * 8) + b"\r\n"
    assert len(numbers_in([lie, lie], b"SEARCH")) <= MOST
    assert len(numbers_in([b"* ESEARCH ALL 1:4294967295\r\n"], b"SEARCH")) <= MOST


def test_a_number_that_cannot_be_is_none() -> None:
    assert numbers_in([b"* ESEARCH ALL " + b"9" * 5000 + b",7\r\n", b"* SEARCH " + b"9" * 5000 + b" 8\r\n"], b"SEARCH")[-2:] == [7, 8]


def test_a_set_in_pieces_is_the_set() -> None:
    messages = set_of(range(1, 20_000, 2))
    pieces = list(in_pieces(messages))
    assert len(pieces) > 1 and max(map(len, pieces)) <= 8000
    assert b",".join(pieces) == messages
    assert list(in_pieces(b"")) == []
