"""How many sessions there are, and how many there may be.

Rule of this file: each session is counted once when it comes, once more when it claims a user, and taken off
for each exactly once. The counts outlive a reload of the settings; the limits come with each question.
No clock, no I/O.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from portico.config.settings import Limits
from portico.session.context import Refusal


@dataclass(slots=True)
class Ticket:
    """What one session is counted under. Its Counts made it and takes it back."""

    network: str
    """Empty: no address (a unix socket), or not admitted."""
    user: str = ""
    counted: bool = True
    session: str = ""
    """Its id, by which the commons know it; empty: they do not."""
    rip: str = ""
    """The address that it was last counted by."""
    digest: str = ""
    """Of the login under way (gate.penalties)."""
    wrong: int = 0
    """Wrong logins so far: for each the session itself has waited."""
    moved: bool = False
    """The commons do not know yet where it comes from."""


def network_of(rip: str) -> str:
    """What is counted as one address: an IPv4 address, the /64 of an IPv6 one (RFC 6177: a site gets at least that much).

    An IPv4 address mapped into IPv6 is the IPv4 address. Empty for what is no IP address: the peer of a unix socket.
    """
    if ":" not in rip:
        return rip if rip[:1].isdigit() else ""
    try:
        address = ipaddress.IPv6Address(rip.partition("%")[0])
    except ValueError:
        return ""
    mapped = address.ipv4_mapped
    return str(mapped) if mapped is not None else f"{int(address) >> 64:x}/64"


_NOWHERE: Final = "nowhere"
_REFUSALS: Final = {
    "limit_sessions": Refusal("Too many sessions; try again later.", "UNAVAILABLE", "limit_sessions"),
    "limit_address": Refusal("Too many sessions from your address.", "UNAVAILABLE", "limit_address"),
    "limit_user": Refusal("Too many sessions of this user.", "LIMIT", "limit_user"),  # RFC 5530 LIMIT
    "limit_user_address": Refusal("Too many sessions of this user from your address.", "LIMIT", "limit_user_address"),
    "limit_waiting": Refusal("Too many sign-ins wait from your address; try again later.", "UNAVAILABLE", "limit_waiting"),
    "held": Refusal("Your mail is being moved; try again later.", "UNAVAILABLE", "held"),
}


def refusal_of(word: str) -> Refusal:
    """What the client is told for a word of Counts or of the commons."""
    return _REFUSALS.get(word) or Refusal("Temporary failure; try again later.", "UNAVAILABLE", word)


@dataclass(slots=True)
class Counts:
    """The counts of one process, or of all."""

    sessions: int = 0
    networks: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)
    both: dict[tuple[str, str], int] = field(default_factory=dict)
    """By user and network."""
    waiting: dict[str, int] = field(default_factory=dict)
    """Logins that wait for what their network has to pay."""
    refused: Counter[str] = field(default_factory=Counter)
    """How often, by reason: since the start, for who wants to know."""
    delayed: int = 0
    """Logins that had to wait for what their network has to pay, likewise."""

    # -- with words

    def enter(self, network: str, most: int, per_network: int) -> tuple[Ticket, str | None]:
        """Count a session, or say why not; then it is not counted, and giving the ticket back changes nothing."""
        if self.sessions >= most:
            return Ticket("", counted=False), "limit_sessions"
        here = self.networks.get(network, 0)
        if network and here >= per_network:
            return Ticket("", counted=False), "limit_address"
        self.sessions += 1
        if network:
            self.networks[network] = here + 1
        return Ticket(network), None

    def take(self, ticket: Ticket, user: str, per_user: int, per_both: int) -> str | None:
        """Count the session for `user`, or say why not."""
        self.unclaim(ticket)
        key = user.casefold()
        if not key:
            return None
        there = self.users.get(key, 0)
        if there >= per_user:
            return "limit_user"
        pair = (key, ticket.network)
        here = self.both.get(pair, 0)
        if ticket.network:
            if here >= per_both:
                return "limit_user_address"
            self.both[pair] = here + 1
        self.users[key] = there + 1
        ticket.user = key
        return None

    # -- with what the client is told

    def arrive(self, rip: str, limits: Limits, *, counted: bool = True) -> tuple[Ticket, Refusal | None]:
        """Count a connection just accepted, or say why not; then it is not counted, and giving the ticket back changes nothing.

        `counted` False: not for its address, which is that of somebody who speaks for others.
        """
        ticket, word = self.enter(network_of(rip) if counted else "", limits.sessions, limits.sessions_per_address)
        ticket.rip = rip
        return ticket, self.refuse(word) if word is not None else None

    def refuse(self, word: str) -> Refusal:
        """Note that somebody is refused; what he is told."""
        self.refused[word] += 1
        return refusal_of(word)

    def move(self, ticket: Ticket, rip: str, limits: Limits) -> Refusal | None:
        """The session comes from `rip`, it turns out: count it there, or say why not; then it is counted for no address, and asks again."""
        ticket.rip, ticket.moved = _NOWHERE, True
        self.unclaim(ticket)
        if ticket.network:
            _take_off(self.networks, ticket.network)
            ticket.network = ""
        network = network_of(rip)
        here = self.networks.get(network, 0)
        if network and here >= limits.sessions_per_address:
            return self.refuse("limit_address")
        if network and ticket.counted:
            self.networks[network] = here + 1
            ticket.network = network
        ticket.rip = rip
        return None

    def claim(self, ticket: Ticket, user: str, limits: Limits) -> Refusal | None:
        """Count the session for `user`, who is trying to sign in, from now on until `unclaim` or `leave`; or say why not.

        Claimed before the server has said yes, so that many logins at once cannot pass the limit together.
        Names differing in case only are one user, as for most servers.
        """
        word = self.take(ticket, user, limits.sessions_per_user, limits.per_user_and_address)
        return self.refuse(word) if word is not None else None

    def unclaim(self, ticket: Ticket) -> None:
        """The login did not succeed: the user is not counted for it any more."""
        if ticket.user:
            _take_off(self.users, ticket.user)
            if ticket.network:
                _take_off(self.both, (ticket.user, ticket.network))
            ticket.user = ""

    def leave(self, ticket: Ticket) -> None:
        """The session is over. May be called again."""
        self.unclaim(ticket)
        if ticket.counted:
            ticket.counted = False
            self.sessions -= 1
            if ticket.network:
                _take_off(self.networks, ticket.network)

    @contextmanager
    def queue(self, network: str) -> Iterator[int]:
        """A login waits for what its network has to pay; how many do so."""
        here = self.waiting[network] = self.waiting.get(network, 0) + 1
        try:
            yield here
        finally:
            _take_off(self.waiting, network)


_Key = TypeVar("_Key", str, tuple[str, str])


def _take_off(counts: dict[_Key, int], key: _Key) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]  # nothing is kept of those who have gone
