"""Which server of a group a user goes to, and which ones after it.

Rule of this file: names and numbers in, an order out; no state, no clock, no health. Rendezvous hashing: each member throws a number for
the user, weighted; the highest has him. A member that goes takes only its own users along, and when it comes back it has the same
ones again; all processes and machines with the same settings agree without a word.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from hashlib import blake2b

from portico.config.sections.upstream import Group, Member

_RANGE = float(1 << 53)


def order(group: Group, user: str) -> list[str]:
    """All members, the best for `user` first: by `order`, then by what they throw. Names that differ in case are one user."""
    key = user.casefold().encode("utf-8", "surrogateescape")
    tiers: dict[int, list[tuple[float, str]]] = {}
    for member in group.members:
        tiers.setdefault(member.order, []).append((_throw(member, key) if group.sticky else _any(member), member.server))
    return [server for number in sorted(tiers) for _, server in sorted(tiers[number], reverse=True)]


def shares(members: Sequence[Member]) -> dict[str, float]:
    """Which part of the users each of the first members has while all are well."""
    first = min(member.order for member in members)
    total = sum(member.weight for member in members if member.order == first)
    return {member.server: member.weight / total if member.order == first else 0.0 for member in members}


def _throw(member: Member, key: bytes) -> float:
    digest = blake2b(key, digest_size=8, salt=blake2b(member.server.encode(), digest_size=16).digest()).digest()
    return _weighted(member.weight, ((int.from_bytes(digest, "big") >> 11) + 0.5) / _RANGE)


def _any(member: Member) -> float:
    return _weighted(member.weight, random.random() or 0.5)


def _weighted(weight: int, uniform: float) -> float:
    """The highest of these is member i with the probability weight i / sum of weights."""
    return -weight / math.log(uniform)
