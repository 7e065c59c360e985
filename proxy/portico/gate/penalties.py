"""What an address pays for wrong passwords: it waits, each time longer, before its next login is looked at.

Rule of this file: as Dovecot's anvil has it. The delay grows per address (IPv6: per /64) with each new wrong password, the same wrong
password of the same user counts once, and what nobody adds to is forgotten step by step. A right login takes nothing off, or whoever has
one account could guess at all others; but who comes with a password that was right from there before waits for nothing. (From there: else
how soon an answer comes would tell each guesser whether he is right, and he would not stay to pay for the others.)
Memory is bounded: who was heard of longest ago is forgotten first. No I/O; the clock is a parameter. Passwords come as keyed digests only.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from portico.errors import Secret

SAME: Final = 10
"""Wrong passwords of an address that are remembered, so that they count once (Dovecot: 10)."""
_OPEN: Final = 100
"""So many logins of an address that have not stayed are borne; more than can wait at a time where nobody guesses."""
_DIGEST: Final = 12
"""Octets."""


def digest_key(secret: Secret) -> bytes:
    """What the digests are keyed with, from a secret that all who share them have."""
    return hashlib.blake2b(b"portico penalties", key=secret.reveal()[:64], digest_size=32).digest()


def digest_of(key: bytes, user: str, password: Secret | None, network: str) -> str:
    """Stands for a user with a password who comes from a network; without `key` nothing can be tried against it. Empty: there is no
    password to tell apart."""
    if password is None:
        return ""
    words = [word.encode("utf-8", "surrogateescape") for word in (network, user.casefold())]
    told = hmac.digest(key, b"".join(len(word).to_bytes(4, "big") + word for word in words) + password.reveal(), "sha256")
    return told[:_DIGEST].hex()


@dataclass(slots=True)
class _Address:
    level: int = 0
    since: float = 0.0
    """When the last wrong password came, or the last step was forgotten."""
    same: list[str] = field(default_factory=list)
    open: int = 0
    """Logins that had to wait and of which nothing came (yet): who guesses and does not stay learns by them whether he was right."""


class Penalties:
    """Of one process, or of all where it is asked by all. `most`: addresses and right passwords that are remembered."""

    __slots__ = ("_addresses", "_clock", "_right", "most")

    def __init__(self, clock: Callable[[], float], most: int = 100_000) -> None:
        self._clock = clock
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._right: OrderedDict[str, float] = OrderedDict()
        self.most = most

    def __repr__(self) -> str:
        return f"<Penalties of {len(self._addresses)} addresses>"

    def __len__(self) -> int:
        return len(self._addresses)

    def delay(self, network: str, digest: str, *, first: float, longest: float, step: float) -> float:
        """Seconds to wait before a login from `network` is looked at. `first`: after one wrong password; then doubled up to `longest`.
        One wrong password is forgotten each `step` seconds."""
        known = self._addresses.get(network) if network else None
        if known is None:
            return 0.0
        self._forget(network, known, step)
        if not known.level or first <= 0:
            return 0.0
        if digest and digest in self._right and known.open < _OPEN:
            self._right.move_to_end(digest)
            return 0.0
        known.open += 1 if digest else 0
        return min(first * 2.0 ** (known.level - 1), longest)

    def believes(self, network: str) -> bool:
        """Whether a right password waits for nothing there."""
        known = self._addresses.get(network)
        return known is None or known.open < _OPEN

    def wrong(self, network: str, digest: str, *, first: float, longest: float, step: float) -> None:
        """A wrong password came from `network`. Where it costs nothing it is not counted either: nobody is to pay later for it."""
        if digest:
            self._right.pop(digest, None)  # it was right until now: it has been changed
        if not network or first <= 0:
            return
        known = self._addresses.get(network)
        if known is None:
            known = self._addresses[network] = _Address(since=self._clock())
            while len(self._addresses) > self.most:
                self._addresses.popitem(last=False)
        self._forget(network, known, step, keep=True)
        self._addresses.move_to_end(network)
        known.open = max(0, known.open - (1 if digest else 0))
        if digest and digest in known.same:
            return
        if digest:
            known.same = [*known.same[1 - SAME :], digest]
        known.since = self._clock()
        if first * 2.0 ** (known.level - 1) < longest:
            known.level += 1  # above what it costs nothing is counted, so that all is forgotten in a few steps

    def right(self, digest: str, network: str = "") -> None:
        """A password proved to be right."""
        known = self._addresses.get(network)
        if digest and known is not None and digest not in self._right:  # else it has waited for nothing
            known.open = max(0, known.open - 1)
        if digest:
            self._right[digest] = self._clock()
            self._right.move_to_end(digest)
            while len(self._right) > self.most:
                self._right.popitem(last=False)

    def _forget(self, network: str, known: _Address, step: float, *, keep: bool = False) -> None:
        passed = int((self._clock() - known.since) / step) if step > 0 else 0
        if passed:
            known.level = max(0, known.level - passed)
            known.since += passed * step
            known.open = 0
            if not known.level:
                known.same = []
        if not known.level and not keep:
            del self._addresses[network]
