"""Header fields are read as they were meant, and what makes no sense is nothing."""

from __future__ import annotations

import time

import pytest
from portico.wire.fields import parse_content_type, parse_parameters
from portico.wire.mime import scan
from portico.wire.words import parameters


@pytest.mark.parametrize(
    ("field", "sender"),
    [
        ("a@b.c", "a@b.c"), ("<a@b.c>", "a@b.c"), ("A B <a@b.c>, C <c@d>", "A B <a@b.c>"), ("a@b (A B)", "A B <a@b>"), ("", ""), (",", ""),
        ("=?utf-8?q?J=C3=B6?= <j@x>", "Jö <j@x>"), ('"', ""), ("<", ""), ('"a" b', ""),
    ],
)  # fmt: skip
def test_the_author_is_the_first_of_from(field: str, sender: str) -> None:
    assert scan(f"From: {field}\r\n\r\n".encode()).envelope.sender == sender


def test_a_type_is_read_with_all_its_parameters() -> None:
    value = b'text/calendar; charset="utf-8" (really); ;; =x; METHOD=REQUEST ; name*=utf-8\'\'%C3%A4; flag; a = "b;\\"c"; end="open'
    kind, pairs = parse_content_type(value)
    assert kind == "text/calendar"
    assert parameters(pairs) == {"charset": "utf-8", "method": "REQUEST", "name": "ä", "a": 'b;"c', "end": "open"}
    assert parse_parameters(b"(x) Attachment ;filename=a b.txt; size=3") == ("attachment", [(b"filename", b"a"), (b"size", b"3")])


@pytest.mark.parametrize("value", [None, b"", b"text", b"text/", b"/plain", b"text/pl>ain", b"text plain", b"(text/plain", b";charset=x"])
def test_a_type_that_makes_no_sense_is_none(value: bytes | None) -> None:
    assert parse_content_type(value) == ("", [])


@pytest.mark.parametrize(
    "value",
    [
        b"(" * 16_000,
        b'"' * 16_000,
        b"; =" * 5_000,
        b"a/b" + b";a" * 8_000,
        b"a/b;a=" + b"\\" * 16_000,
        b"a/b;x=" + b'"\\' * 8_000,
        b" " * 16_000,
        b"a/b;" + b"x*0=a;" * 2_600,
        b"()" * 8_000,
    ],
)
def test_fields_take_time_by_length(value: bytes) -> None:
    start = time.process_time()
    for name in (b"Content-Type", b"Content-Disposition", b"From", b"Subject", b"Content-Transfer-Encoding"):
        scan(name + b": " + value + b"\r\n\r\n")
    assert time.process_time() - start < 1.0
