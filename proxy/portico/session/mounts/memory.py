"""What is remembered of stores from session to session, in this process.

Rule of this file: bounded tables, no clock. What must outlive the process (subscriptions) is kept by whoever supplies Subscriptions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from portico.wire.mailbox import Listed

_LISTINGS: Final = 256
_MAILBOXES: Final = 10_000
"""Of a listing that is remembered; a longer one is not."""


class Subscriptions(Protocol):
    """What users have said of mailboxes whose subscriptions the proxy keeps (portico.ledger supplies it)."""

    def subscriptions(self, account: str) -> Mapping[str, bool]:
        """By name under the mount (levels parted by ``/``; empty: the mount itself): subscribed, or unsubscribed on purpose."""
        ...

    def subscribe(self, account: str, name: str, on: bool) -> None: ...


class Memory:
    """Capabilities of stores by server, and what they listed last by account."""

    __slots__ = ("_capabilities", "_listings")

    def __init__(self) -> None:
        self._capabilities: dict[str, frozenset[bytes]] = {}
        self._listings: OrderedDict[str, tuple[Listed, ...]] = OrderedDict()

    def capabilities(self, server: str) -> frozenset[bytes] | None:
        """What the store announced after the last login, upper case; None: nobody has been there yet."""
        return self._capabilities.get(server)

    def learned(self, server: str, capabilities: frozenset[bytes]) -> None:
        self._capabilities[server] = capabilities

    def listing(self, account: str) -> tuple[Listed, ...] | None:
        """All mailboxes, as the store named them when it was last asked for all."""
        return self._listings.get(account)

    def listed(self, account: str, listing: Sequence[Listed]) -> None:
        self._listings.pop(account, None)
        if len(listing) > _MAILBOXES:
            return
        self._listings[account] = tuple(listing)
        if len(self._listings) > _LISTINGS:
            self._listings.popitem(last=False)
