"""Lists of networks, and what strangers may write into the log."""

from __future__ import annotations

import pytest
from portico.gate.networks import Networks
from portico.gate.sparing import Sparing


@pytest.mark.parametrize(
    ("rip", "inside"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("fe80::1%eth0", False),
        ("nowhere", False),
        ("", False),
    ],
)
def test_an_address_is_in_the_list_or_not(rip: str, inside: bool) -> None:
    assert (rip in Networks(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"])) is inside


def test_a_unix_socket_is_in_the_list_by_its_name_only() -> None:
    assert "" in Networks(["unix"]) and "10.0.0.1" not in Networks(["unix"])
    assert "" not in Networks(["0.0.0.0/0", "::/0"])
    assert not Networks() and Networks(["unix"]) and "10.0.0.1" not in Networks()


def test_what_strangers_bring_about_is_said_ten_times_in_ten_seconds() -> None:
    sparing = Sparing()
    assert [sparing.may(100.0 + number / 100) for number in range(200)] == [True] * 10 + [False] * 190
    assert [sparing.may(110.0) for _ in range(12)] == [True] * 10 + [False] * 2
