"""Addresses as ENVELOPE tells them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.wire.addresses import Address, parse_addresses

NOTHING = Address(None, None, None, None)


@pytest.mark.parametrize(
    ("field", "addresses"),
    [
        (b"alice@example.org", [Address(None, None, b"alice", b"example.org")]),
        (b"Alice Liddell <alice@example.org>", [Address(b"Alice Liddell", None, b"alice", b"example.org")]),
        (b'"Liddell, Alice \\"L\\"" <alice@example.org>', [Address(b'Liddell, Alice "L"', None, b"alice", b"example.org")]),
        (b"alice@example.org (Alice (L))", [Address(b"Alice (L)", None, b"alice", b"example.org")]),
        (b"J. R. Public <p@example.org>", [Address(b"J. R. Public", None, b"p", b"example.org")]),
        (b"=?utf-8?q?J=C3=B6?= <j@example.org>", [Address(b"=?utf-8?q?J=C3=B6?=", None, b"j", b"example.org")]),
        (b'"a b"@example.org', [Address(None, None, b"a b", b"example.org")]),
        (b"a@[192.0.2.1]", [Address(None, None, b"a", b"[192.0.2.1]")]),
        (b"M <@one,@two:m@example.org>", [Address(b"M", b"@one,@two", b"m", b"example.org")]),
        (b"a@x, b@y", [Address(None, None, b"a", b"x"), Address(None, None, b"b", b"y")]),
        (b"G: a@x, b@y;", [Address(None, None, b"G", None), Address(None, None, b"a", b"x"), Address(None, None, b"b", b"y"), NOTHING]),
        (b"undisclosed recipients:;", [Address(None, None, b"undisclosed recipients", None), NOTHING]),
        (b"G: a@x", [Address(None, None, b"G", None), Address(None, None, b"a", b"x"), NOTHING]),
        (b"postmaster", [Address(None, None, b"postmaster", b"MISSING_DOMAIN")]),
        (b"Mary Smith", [Address(b"Mary Smith", None, b"MISSING_MAILBOX", b"MISSING_DOMAIN")]),
        (b"Mary <>", [Address(b"Mary", None, b"MISSING_MAILBOX", b"MISSING_DOMAIN")]),
        (b"", []),
    ],
)
def test_an_address_is_told_as_it_was_meant(field: bytes, addresses: list[Address]) -> None:
    assert parse_addresses(field) == addresses


@given(st.lists(st.sampled_from([b"<", b">", b"@", b",", b":", b";", b"(", b")", b'"', b"\\", b"a", b" ", b".", b"["])).map(b"".join))
def test_whatever_stands_there_no_host_is_missing_but_those_of_groups(field: bytes) -> None:
    depth = 0
    for address in parse_addresses(field):
        if address.host is None:
            depth += 1 if address.mailbox is not None else -1
        assert depth in (0, 1)
    assert depth == 0


@pytest.mark.parametrize("field", [b"(" * 200_000, b"<" * 20_000, b'"\\' * 100_000, b"a " * 20_000, b"a@b," * 20_000])
def test_time_is_by_length(field: bytes) -> None:
    begun = time.process_time()
    parse_addresses(field)
    assert time.process_time() - begun < 10
