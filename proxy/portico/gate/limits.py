"""How many sessions there are, and how many there may be.

Rule of this file: each session is counted once when it comes, once more when it claims a user, and taken off
for each exactly once. The counts outlive a reload of the settings; the limits come with each question.
No clock, no I/O.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from portico.config.settings import Limits
from portico.session.context import Refusal


@dataclass(slots=True)
class Ticket:
    """What one session is counted under. Its Counts made it and takes it back."""

    network: str
    """Empty: no address (a unix socket), or not admitted."""
    user: str = ""
    counted: bool = True


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


@dataclass(slots=True)
class Counts:
    """The counts of one process."""

    sessions: int = 0
    networks: dict[str, int] = field(default_factory=dict)
    users: dict[str, int] = field(default_factory=dict)

    def arrive(self, rip: str, limits: Limits) -> tuple[Ticket, Refusal | None]:
        """Count a connection just accepted, or say why not; then it is not counted, and giving the ticket back changes nothing."""
        if self.sessions >= limits.sessions:
            return Ticket("", counted=False), Refusal("Too many sessions; try again later.", "UNAVAILABLE", "limit_sessions")
        network = network_of(rip)
        here = self.networks.get(network, 0)
        if network and here >= limits.sessions_per_address:
            return Ticket("", counted=False), Refusal("Too many sessions from your address.", "UNAVAILABLE", "limit_address")
        self.sessions += 1
        if network:
            self.networks[network] = here + 1
        return Ticket(network), None

    def claim(self, ticket: Ticket, user: str, limits: Limits) -> Refusal | None:
        """Count the session for `user`, who is trying to sign in, from now on until `unclaim` or `leave`; or say why not.

        Claimed before the server has said yes, so that many logins at once cannot pass the limit together.
        Names differing in case only are one user, as for most servers.
        """
        self.unclaim(ticket)
        key = user.casefold()
        if not key:
            return None
        there = self.users.get(key, 0)
        if there >= limits.sessions_per_user:
            return Refusal("Too many sessions of this user.", "LIMIT", "limit_user")  # RFC 5530 LIMIT
        self.users[key] = there + 1
        ticket.user = key
        return None

    def unclaim(self, ticket: Ticket) -> None:
        """The login did not succeed: the user is not counted for it any more."""
        if ticket.user:
            _take_off(self.users, ticket.user)
            ticket.user = ""

    def leave(self, ticket: Ticket) -> None:
        """The session is over. May be called again."""
        self.unclaim(ticket)
        if ticket.counted:
            ticket.counted = False
            self.sessions -= 1
            if ticket.network:
                _take_off(self.networks, ticket.network)


def _take_off(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]  # nothing is kept of those who have gone
