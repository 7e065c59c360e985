"""Which size has been told of which message of a mailbox.

Rule of this file: what was told stays; twelve octets a message, because a mailbox may have a hundred thousand.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from portico.session.annotations.annotation import Mailbox

_ESTIMATED: Final = 1 << 63


class Size(NamedTuple):
    """A size, and whether it was estimated when it was told."""

    octets: int
    estimated: bool


class Sizes:
    """The sizes told of one mailbox, by UID."""

    __slots__ = ("__weakref__", "_new", "_sizes", "_uids", "estimated")

    def __init__(self, rows: Iterable[tuple[int, int, bool]] = ()) -> None:
        self._uids = array("I")
        self._sizes = array("Q")
        self._new: list[tuple[int, int, bool]] = []
        self.estimated = 0
        """How many of them are estimates."""
        for uid, octets, estimated in rows:
            self._put(uid, octets, estimated)

    def __len__(self) -> int:
        return len(self._uids)

    def get(self, uid: int) -> Size | None:
        at = bisect_left(self._uids, uid)
        if at == len(self._uids) or self._uids[at] != uid:
            return None
        size = self._sizes[at]
        return Size(size & ~_ESTIMATED, bool(size & _ESTIMATED))

    def tell(self, uid: int, octets: int, *, estimated: bool) -> int:
        """The size to be told of a message: what was told before, else `octets`, from now on."""
        known = self.get(uid)
        if known is not None:
            return known.octets
        self._put(uid, octets, estimated)
        self._new.append((uid, octets, estimated))
        return octets

    def _put(self, uid: int, octets: int, estimated: bool) -> None:
        at = len(self._uids) if not self._uids or uid > self._uids[-1] else bisect_left(self._uids, uid)
        self._uids.insert(at, uid)
        self._sizes.insert(at, octets | _ESTIMATED if estimated else octets)
        self.estimated += estimated

    def take_new(self) -> list[tuple[int, int, bool]]:
        """UID, octets and whether estimated, of all that was told since the last call."""
        new, self._new = self._new, []
        return new

    def estimates(self) -> Iterator[tuple[int, int]]:
        """UID and octets of the estimates, rising."""
        for uid, size in zip(self._uids, self._sizes, strict=True):
            if size & _ESTIMATED:
                yield uid, size & ~_ESTIMATED


class SizesLedger(Protocol):
    """Remembers what was told (portico.ledger supplies it)."""

    def sizes(self, mailbox: Mailbox) -> Sizes:
        """What was told of a mailbox; as long as somebody has it, others get the same."""
        ...

    def keep_sizes(self, mailbox: Mailbox, sizes: Sizes) -> None:
        """Write down what is new."""
        ...

    def estimated(self, account: str, name: str) -> int:
        """Octets of all estimates told of a mailbox; for STATUS SIZE (RFC 8438)."""
        ...
