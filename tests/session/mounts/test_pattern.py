"""Patterns of LIST."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.session.mounts.pattern import asks_below, matches, rests

PREFIX = b"Public Folders/"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"*", [b"*"]),
        (b"%", []),
        (b"%/%", [b"%"]),
        (b"%/%/%", [b"%/%"]),
        (b"Public Folders/*", [b"*"]),
        (b"Public Folders/Team", [b"Team"]),
        (b"Pub*", [b"*"]),
        (b"*Team", [b"*Team"]),
        (b"*/Team", [b"*/Team", b"Team"]),
        (b"P%s/%", [b"%"]),
        (b"INBOX", []),
        (b"", []),
        (b"Public Folders", []),
    ],
)
def test_what_is_left_of_a_pattern_below_the_mount(pattern: bytes, expected: list[bytes]) -> None:
    assert rests(pattern, PREFIX, b"/") == expected


@pytest.mark.parametrize(
    ("pattern", "name", "answer"),
    [
        (b"%", b"a", True),
        (b"%", b"a/b", False),
        (b"*", b"a/b", True),
        (b"a%c", b"ac", True),
        (b"a*b*c", b"a/b/x/c", True),
        (b"", b"a", False),
    ],
)
def test_what_a_pattern_matches(pattern: bytes, name: bytes, answer: bool) -> None:
    assert matches(pattern, name, b"/") is answer


NAMES = st.text("ab/", max_size=8).map(str.encode)
PATTERNS = st.text("ab/*%", max_size=8).map(str.encode)


@given(PATTERNS, NAMES)
def test_it_matches_what_the_regular_expression_matches(pattern: bytes, name: bytes) -> None:
    expression = b"".join({b"*": b".*", b"%": b"[^/]*"}.get(bytes([each]), re.escape(bytes([each]))) for each in pattern)
    assert matches(pattern, name, b"/") is bool(re.fullmatch(expression, name, re.DOTALL))


@given(PATTERNS, NAMES, NAMES)
def test_a_pattern_matches_below_a_prefix_what_its_rests_match(pattern: bytes, prefix: bytes, name: bytes) -> None:
    whole = matches(pattern, prefix + b"/" + name, b"/")
    assert whole is any(matches(rest, name, b"/") for rest in rests(pattern, prefix + b"/", b"/"))


def test_who_names_the_mount_asks_for_what_is_below() -> None:
    assert asks_below(b"Public Folders/%", PREFIX) and not asks_below(b"*", PREFIX) and not asks_below(b"%/Team", PREFIX)
