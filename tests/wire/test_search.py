"""Conditions by size, told from words that look like them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.wire.search import size_keys


@pytest.mark.parametrize(
    ("arguments", "skip", "found"),
    [
        (b'LARGER 5500 SUBJECT "LARGER 5"', 0, [b"LARGER 5500"]),
        (b"SUBJECT LARGER 5 LARGER 7", 0, [b"LARGER 7"]),
        (b'OR (NOT larger 5) (HEADER X LARGER SMALLER "9")', 0, [b"larger 5", b'SMALLER "9"']),
        (b"RETURN (MIN MAX) CHARSET LARGER LARGER 4", 0, [b"LARGER 4"]),
        (b"TEXT {8}\r\nLARGER 5 SMALLER  6", 0, [b"SMALLER  6"]),
        (b"(REVERSE SIZE) LARGER LARGER 5", 2, [b"LARGER 5"]),
        (b"REFERENCES UTF-8 (LARGER 5)", 2, [b"LARGER 5"]),
        (b"LARGER", 0, []),
        (b"LARGER (5)", 0, []),
        (b"LARGER 99999999999999999999", 0, []),
        (b'"LARGER 5', 0, []),
    ],
)
def test_a_word_is_a_key_only_where_it_is_no_argument(arguments: bytes, skip: int, found: list[bytes]) -> None:
    assert [arguments[key.start : key.end] for key in size_keys(arguments, skip=skip)] == found


def test_both_conditions_are_strict() -> None:
    larger, smaller = size_keys(b"LARGER 5 SMALLER 5")
    assert [larger.holds(octets) for octets in (4, 5, 6)] == [False, False, True]
    assert [smaller.holds(octets) for octets in (4, 5, 6)] == [True, False, False]


@given(
    st.lists(st.sampled_from([b"LARGER", b"SMALLER", b" ", b" 5", b"(", b")", b'"', b"\\", b"{3}\r\n", b"TEXT ", b"\xff"])),
    st.integers(0, 2),
)
def test_any_arguments_are_taken_apart_without_an_exception(words: list[bytes], skip: int) -> None:
    arguments = b"".join(words)
    ends = [0]
    for key in size_keys(arguments, skip=skip):
        assert ends[-1] <= key.start < key.end <= len(arguments)
        ends.append(key.end)
