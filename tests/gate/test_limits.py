"""Counting: exact under any order of what sessions do."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.config.settings import Limits
from portico.gate.limits import Counts, Ticket, network_of

LIMITS = Limits(sessions=6, sessions_per_user=2, sessions_per_address=3)
ADDRESSES = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "::ffff:192.0.2.1", "unix"]
USERS = ["alice", "Alice", "bob", "carol"]

steps = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "claim", "unclaim", "leave"]),
        st.integers(0, 11),
        st.sampled_from(ADDRESSES),
        st.sampled_from(USERS),
    ),
    max_size=60,
)


@given(steps)
@settings(max_examples=150)
def test_the_counts_are_what_is_there_and_never_above_the_limits(steps: list[tuple[str, int, str, str]]) -> None:
    counts = Counts()
    tickets: list[Ticket] = []
    networks: dict[int, str] = {}
    users: dict[int, str] = {}
    for what, number, rip, user in steps:
        if what == "arrive":
            network = network_of(rip)
            full = len(networks) >= 6 or (bool(network) and sum(there == network for there in networks.values()) >= 3)
            ticket, refusal = counts.arrive(rip, LIMITS)
            assert (refusal is not None) is full
            if refusal is None:
                networks[len(tickets)] = network
            tickets.append(ticket)
            continue
        if not tickets:
            continue
        number %= len(tickets)
        ticket = tickets[number]
        if what == "claim" and number in networks:
            users.pop(number, None)
            full = sum(there == user.casefold() for there in users.values()) >= 2
            assert (counts.claim(ticket, user, LIMITS) is not None) is full
            if not full:
                users[number] = user.casefold()
        elif what == "unclaim":
            counts.unclaim(ticket)
            users.pop(number, None)
        elif what == "leave":
            counts.leave(ticket)
            users.pop(number, None)
            networks.pop(number, None)
        assert counts.sessions == len(networks)
        assert counts.networks == Counter(there for there in networks.values() if there)
        assert counts.users == Counter(users.values())
    for ticket in tickets:
        counts.leave(ticket)
        counts.leave(ticket)
    assert (counts.sessions, counts.networks, counts.users) == (0, {}, {})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_ipv6_is_counted_by_site_and_ipv4_by_address(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


def test_clients_of_a_unix_socket_are_not_limited_by_address() -> None:
    counts = Counts()
    assert [counts.arrive("unix", LIMITS)[1] for _ in range(6)] == [None] * 6
    refusal = counts.arrive("unix", LIMITS)[1]
    assert refusal is not None and refusal.reason == "limit_sessions"
