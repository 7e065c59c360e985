"""Addresses as operators write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.config.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address", "again"),
    [
        ("mail.example.org:993", Address("mail.example.org", 993), "mail.example.org:993"),
        ("Mail.Example.ORG:993", Address("mail.example.org", 993), "mail.example.org:993"),
        ("127.0.0.1:143", Address("127.0.0.1", 143), "127.0.0.1:143"),
        ("[::1]:143", Address("::1", 143), "[::1]:143"),
        ("[0:0:0:0:0:0:0:1]:143", Address("::1", 143), "[::1]:143"),
        ("[fe80::1%eth0]:143", Address("fe80::1%eth0", 143), "[fe80::1%eth0]:143"),
        ("unix:/run/imap", Address(path="/run/imap"), "unix:/run/imap"),
        ("my_server:1", Address("my_server", 1), "my_server:1"),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address, again: str) -> None:
    assert parse_address(text) == address
    assert str(address) == again
    assert parse_address(again) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "with its port"),
        ("host", "with its port"),
        ("host:", "with its port"),
        ("host:imap", "with its port"),
        ("host:0", "1 to 65535"),
        ("host:65536", "1 to 65535"),
        (":993", "all addresses"),
        ("*:993", "all addresses"),
        ("::1:993", "in brackets"),
        ("[::g]:993", "between the brackets"),
        ("1.2.3:993", "four numbers"),
        ("256.1.1.1:993", "four numbers"),
        ("ho st:993", "is expected"),
        ("-host:993", "is expected"),
        ("unix:run/imap", "absolute path"),
        ("unix:/" + "x" * 107, "at most 107"),
        ("imaps://host:993", "in brackets"),
        ("user:geheim@host:993", "no user and no password"),
        ("host:٣", "with its port"),
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_address(text)
    assert "geheim" not in str(caught.value)


def test_port_0_is_for_listeners() -> None:
    assert parse_address("127.0.0.1:0", any_port=True) == Address("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("a.localhost:1", True),
        ("unix:/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("mail.example.org:1", False),
    ],
)
def test_local_is_what_no_one_else_can_hear(text: str, local: bool) -> None:
    assert parse_address(text).local is local


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
