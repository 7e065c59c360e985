"""Which clients may sign in: by their network, and by the name that the mail program gives itself.

Rule of this file: one verdict per login; nothing in the data path, so every session stays a tunnel. What cannot be known (a POP3
client has no name, and most IMAP clients say theirs only after login) is the operator's to decide: `unknown`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal

from portico.plugin import LoginAttempt, Option, Refuse, Session, hookimpl
from pydantic import AfterValidator

__all__ = ["ClientAllowList"]

Network = IPv4Network | IPv6Network


@lru_cache(maxsize=64)
def _parsed(networks: tuple[str, ...]) -> tuple[Network, ...]:
    """Raises ValueError for what is no network. Bits behind the prefix are forgiven: ``192.0.2.7/24``."""
    return tuple(ip_network(each, strict=False) for each in networks)


def _checked(networks: list[str]) -> list[str]:
    """At start, so that a slip of the pen is told with its line and not at the first login."""
    _parsed(tuple(networks))
    return networks


Networks = Annotated[list[str], AfterValidator(_checked)]


class ClientAllowList:
    """The plugin ``client_allow_list``."""

    @hookimpl
    def settings_declared(self) -> Sequence[Option]:
        return [
            Option(
                "networks",
                Networks,
                'Networks whose clients may sign in: "192.0.2.0/24", "2001:db8::/32", or one address. Empty: all.',
                [],
            ),
            Option(
                "programs",
                list[str],
                'Mail programs that may sign in, as patterns of the name in their IMAP ID, or of "name/version": '
                '"Thunderbird", "K-9*", "Thunderbird/1[4-9]*". Upper and lower case are the same. Empty: all.',
                [],
            ),
            Option(
                "unknown",
                Literal["allow", "refuse"],
                "What becomes of a client that has given no name before it signs in, where `programs` are set: every POP3 client, and "
                "every IMAP client that says its ID after login or never.",
                "allow",
            ),
            Option("text", str, "What a client is told that may not sign in.", "This mail program or network is not allowed here."),
        ]

    @hookimpl
    def login_attempted(self, session: Session, attempt: LoginAttempt, options: Any) -> Refuse | None:
        if options.networks and not inside(session.peer.rip, tuple(options.networks)):
            return Refuse(options.text)
        if options.programs and not permitted(session.client_id, options.programs, unknown=options.unknown == "allow"):
            return Refuse(options.text)
        return None


def inside(rip: str, networks: tuple[str, ...]) -> bool:
    """Whether an address is in one of the networks. What is no address (the peer of a unix socket) is in none."""
    try:
        address = ip_address(rip)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:192.0.2.1, where one socket serves both
    return any((mapped or address) in network for network in _parsed(networks))


def permitted(client_id: Mapping[str, str], programs: Sequence[str], *, unknown: bool) -> bool:
    """Whether a mail program is one of those. `unknown`: the verdict where it gave no name."""
    name = client_id.get("name", "").casefold()
    if not name:
        return unknown
    version = client_id.get("version", "").casefold()
    return any(
        fnmatchcase(name, pattern) or fnmatchcase(f"{name}/{version}", pattern) for pattern in (each.casefold() for each in programs)
    )
